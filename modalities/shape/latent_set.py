"""A codec of shapes: a set of latent vectors of points with normals, and signed distances from it at any point.

Zhang et al. (2023), 3DShape2VecSet, https://arxiv.org/abs/2301.11445; signed distances in place of occupancies as in
Li et al. (2025), TripoSG, https://arxiv.org/abs/2502.06608.
"""

from copy import copy

import torch
from torch import Tensor, nn

from modalities.shape.cloud import ORIENTED
from modalities.shape.distance_data import CHANNELS
from modalities.shape.transformer import PointFeatures
from modalities.shape.volume import check_resolution, evaluate
from multidiff.codecs.autoencoder import Autoencoder
from multidiff.codecs.base import Shape
from multidiff.codecs.bottleneck import Bottleneck
from multidiff.errors import InputError
from multidiff.nn.sets import SetBlock, farthest_points

CHUNK = 2**12
"""Queries that are decoded at once: memory does not grow with the resolution, but for the volume itself."""


class SetEncoder(nn.Module):
    """Points with normals to a set of features: `farthest_points` attend to all points, then to one another.

    The set depends on the set of points, not on their order, but where two are equally far.

    Args:
        outputs: channels of the features.
        latents: M, elements of the set.
        points: the most points that are encoded.
        width: channels of a token, a multiple of ``head_size``.
        depth: self-attention blocks.
        head_size: channels of an attention head.
        octaves: of positions, see `PointFeatures`.
    """

    def __init__(self, outputs: int, latents: int, points: int, width: int, depth: int, head_size: int, octaves: int):
        super().__init__()
        self.latents, self.points = latents, points
        self.positions = PointFeatures(3, width, octaves)
        self.normals = nn.Linear(3, width, bias=False)
        self.read = SetBlock(width, width, head_size=head_size)
        self.blocks = nn.ModuleList(SetBlock(width, head_size=head_size) for _ in range(depth))
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, outputs))

    def forward(self, data: Tensor) -> Tensor:
        """``(B, 6 or more, N)`` to ``(B, outputs, M)``; the first points and the first 6 channels count."""
        positions, normals = data[:, :ORIENTED, : self.points].split(3, dim=1)
        points = self.positions(positions) + self.normals(normals.mT)
        chosen = farthest_points(positions.mT, self.latents)
        tokens = self.read(torch.take_along_dim(points, chosen[:, :, None], dim=1), points)
        for block in self.blocks:
            tokens = block(tokens)
        return self.out(tokens).mT


class DistanceDecoder(nn.Module):
    """A set of latents to signed distances: the latents attend to one another, then query points attend to them.

    Args:
        channels: C of the latents.
        width: channels of a token, a multiple of ``head_size``.
        depth: self-attention blocks.
        head_size: channels of an attention head.
        octaves: of query points, see `PointFeatures`.
        resolution: nodes along a side of the volumes.
        truncation: largest distance that is told.
    """

    def __init__(
        self, channels: int, width: int, depth: int, head_size: int, octaves: int, resolution: int, truncation: float
    ):
        super().__init__()
        self.resolution, self.truncation = resolution, truncation
        self.project = nn.Linear(channels, width)
        self.blocks = nn.ModuleList(SetBlock(width, head_size=head_size) for _ in range(depth))
        self.queries = PointFeatures(3, width, octaves)
        self.ask = SetBlock(width, width, head_size=head_size, expansion=2)
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1))

    def tokens(self, latents: Tensor) -> Tensor:
        """Latents ``(B, C, M)`` to what queries attend to, ``(B, M, width)``."""
        tokens = self.project(latents.mT)
        for block in self.blocks:
            tokens = block(tokens)
        return tokens

    def distances(self, tokens: Tensor, queries: Tensor) -> Tensor:
        """Signed distances at ``queries``, ``(B, 3, Q)``, in units of the truncation, ``(B, Q)``; not clamped."""
        return self.out(self.ask(self.queries(queries), tokens))[:, :, 0]

    def forward(self, latents: Tensor) -> Tensor:
        """Latents ``(B, C, M)`` to volumes ``(B, 1, R, R, R)`` in the scale of the points."""
        return torch.stack([self._volume(tokens) for tokens in self.tokens(latents)])[:, None]

    def _volume(self, tokens: Tensor) -> Tensor:
        def field(points: Tensor) -> Tensor:
            parts = [self.distances(tokens[None], part.mT[None])[0] for part in points.split(CHUNK)]
            return self.truncation * torch.cat(parts).clamp(-1, 1)

        return evaluate(field, self.resolution, self.truncation, tokens)


class LatentSet(Autoencoder):
    """Points with normals ``(6, N)`` to a set of latents ``(C, M)``, which decodes to a volume of signed distances.

    The latents have no order: a backbone for them is one for points. Shapes lie between -1 and 1, and so does the scale
    of distances.

    Args:
        bottleneck: of C channels.
        latents: M.
        points: the most points that are encoded: the first ones of each sample.
        width: channels of a token, a multiple of ``head_size``.
        encoder_depth: self-attention blocks of the encoder.
        decoder_depth: self-attention blocks of the decoder.
        head_size: channels of an attention head.
        octaves: of positions, see `PointFeatures`.
        resolution: nodes along a side of the volumes that are decoded.
        truncation: largest distance from the surface that is learned.

    Raises:
        InputError: a setting that cannot be used.
        ValueError: heads do not divide the width.
    """

    encoder: SetEncoder
    decoder: DistanceDecoder
    one_by_one = True

    def __init__(
        self,
        bottleneck: Bottleneck,
        *,
        latents: int,
        points: int,
        width: int,
        encoder_depth: int,
        decoder_depth: int,
        head_size: int = 32,
        octaves: int = 7,
        resolution: int = 128,
        truncation: float = 0.1,
    ):
        check_resolution(resolution)
        if not 1 <= latents <= points or not 0 < truncation <= 1:
            raise InputError(
                f"a latent set has 1 to points={points} latents and a truncation from 0 to 1, "
                f"got {latents} and {truncation}"
            )
        super().__init__(
            SetEncoder(bottleneck.inputs, latents, points, width, encoder_depth, head_size, octaves),
            bottleneck,
            DistanceDecoder(bottleneck.channels, width, decoder_depth, head_size, octaves, resolution, truncation),
        )

    def encode(self, data: Tensor) -> Tensor:
        """The latents of points.

        Raises:
            InputError: the data are those of `DistancePreparation`, with fewer points than are encoded.
        """
        if data.shape[1] == CHANNELS and bool(data[:, -1, : self.encoder.points].any()):
            raise InputError(
                f"this codec encodes {self.encoder.points} surface points per shape, but these data have fewer: "
                f"set data.points={self.encoder.points}"
            )
        return super().encode(data)

    def distances(self, latents: Tensor, queries: Tensor) -> Tensor:
        """Signed distances at ``queries``, ``(B, 3, Q)``, in units of the truncation, ``(B, Q)``; not clamped."""
        return self.decoder.distances(self.decoder.tokens(latents), queries)

    def shape(self, data_shape: Shape) -> Shape:
        """Of the latents of points, ``(6 or more, N)``, or of the volumes that they decode to, ``(1, R, R, R)``."""
        volume = len(data_shape) == 4 and data_shape == self._volume(data_shape[-1])
        oriented = len(data_shape) == 2 and data_shape[0] >= ORIENTED and data_shape[1] >= self.encoder.latents
        if not volume and not oriented:
            raise InputError(
                f"this codec encodes points with normals, (6, {self.encoder.latents} or more), "
                f"and the data have the shape {data_shape}"
            )
        return (self.bottleneck.channels, self.encoder.latents)

    def decoding(self, data_shape: Shape) -> "LatentSet":
        changed = copy(self)
        changed._modules = {**self._modules, "decoder": copy(self.decoder)}
        changed.decoder.resolution = data_shape[-1]
        return changed

    def data_shape(self, shape: Shape) -> Shape:
        return self._volume(self.decoder.resolution)

    def _volume(self, resolution: int) -> Shape:
        return (1, *3 * [resolution])
