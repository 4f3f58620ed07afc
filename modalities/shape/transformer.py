"""Backbones for point clouds with any number of points.

Points have no order: their coordinates are the only positions, and permuting the input permutes the output.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from multidiff.diffusion.conditioning import Conditioning
from multidiff.nn.checkpointing import call, checkpointed
from multidiff.nn.embeddings import Embedding, Further
from multidiff.nn.initialization import zero_init
from multidiff.nn.transformer import (
    AdaptiveLayerNorm,
    Attention,
    ConditionTokens,
    FeedForward,
    TransformerBlock,
)


class PointFeatures(nn.Module):
    """Fourier features of each point: ``(B, C, N)`` to ``(B, N, D)``.

    A linear layer on the channels and their cosines and sines in octaves. Without them, a network can hardly tell
    nearby points apart: Tancik et al. (2020), https://arxiv.org/abs/2006.10739.

    Args:
        channels: C.
        dim: D.
        octaves: angular frequencies 1, 2, 4, ...; 0 for the channels alone.
    """

    frequencies: Tensor

    def __init__(self, channels: int, dim: int, octaves: int):
        super().__init__()
        self.register_buffer("frequencies", 2.0 ** torch.arange(octaves), persistent=False)
        self.project = nn.Linear(channels * (1 + 2 * octaves), dim)

    def forward(self, x: Tensor) -> Tensor:
        angles = rearrange(x[:, None] * self.frequencies[:, None, None], "b f c n -> b (f c) n")
        return self.project(rearrange(torch.cat([x, angles.cos(), angles.sin()], dim=1), "b c n -> b n c"))


class PointBackbone(nn.Module):
    """The parts that both backbones share: embedding, point features, condition tokens, and output layer.

    Args:
        channels: C of the points.
        vector_dim: width of the condition vector; 0 for none.
        token_dim: width of the condition tokens; 0 for none.
        width: channels of a point token.
        condition_width: channels of the tokens that attend to the condition.
        octaves: see `PointFeatures`.
        inputs: further inputs that the network takes, see `multidiff.nn.embeddings.INPUTS`.
    """

    def __init__(
        self,
        channels: int,
        vector_dim: int,
        token_dim: int,
        width: int,
        condition_width: int,
        octaves: int,
        inputs: Sequence[str],
    ):
        super().__init__()
        self.embedding_dim = 2 * width
        self.token_dim = token_dim
        self.embedding = Embedding(self.embedding_dim, vector_dim, inputs)
        self.inputs = tuple(inputs)
        self.features = PointFeatures(channels, width, octaves)
        self.tokens = ConditionTokens(token_dim, condition_width) if token_dim else None
        self.norm = AdaptiveLayerNorm(width, self.embedding_dim)
        self.head = zero_init(nn.Linear(width, channels))
        self.gain = zero_init(nn.Linear(self.embedding_dim, channels))

    def start(
        self, x: Tensor, log_snr: Tensor, cond: Conditioning | None, further: Further
    ) -> tuple[Tensor, Tensor, Conditioning]:
        """Point tokens ``(B, N, width)``, embedding ``(B, E)`` and the condition, all in the widths of the network.

        Raises:
            ValueError: ``cond`` holds a vector or tokens, and the network was built for none.
        """
        cond = cond or Conditioning()
        if cond.tokens is not None and self.tokens is None:
            raise ValueError("condition tokens were given to a backbone with token_dim=0")
        embedding = self.embedding(log_snr, cond.vector, further)
        if self.tokens is None:
            return self.features(x), embedding, Conditioning()
        tokens, mask = self.tokens(cond.tokens, cond.mask, len(x))
        present = torch.ones(tokens.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask
        return self.features(x), embedding, Conditioning(tokens=tokens, mask=present)

    def end(self, points: Tensor, embedding: Tensor, x: Tensor) -> Tensor:
        """Point tokens ``(B, N, width)`` to the output ``(B, C, N)``.

        A skip connection adds each channel of ``x`` times a gain that depends on the noise level, so that a linear
        denoiser does not have to pass through the point tokens.
        """
        change = rearrange(self.head(self.norm(points, embedding)), "b n c -> b c n")
        return torch.addcmul(change, self.gain(embedding)[:, :, None], x)


SIZES_CPU = {"width": 64, "latents": 32, "latent_width": 128, "rounds": 2, "latent_blocks": 1}
SIZES_GPU = {"width": 256, "latents": 128, "latent_width": 256, "rounds": 4, "latent_blocks": 2}
"""Of a fitted network: for an hour of training on two cores, and on a GPU."""


class LatentPointTransformer(PointBackbone):
    """Read-write rounds between points and a few latent tokens: the cost is linear in the number of points.

    In each round, the latents attend to the points (and to the condition tokens) and to one another, and the points
    attend to the latents. The output is initially zero. Jabri et al. (2023), RIN, https://arxiv.org/abs/2212.11972;
    Huang et al. (2024), PointInfinity, https://arxiv.org/abs/2404.03566; the inducing points of Lee et al. (2019), Set
    Transformer, https://arxiv.org/abs/1810.00825.

    Args:
        channels: C of the points.
        vector_dim: width of the condition vector; 0 for none.
        token_dim: width of the condition tokens; 0 for none.
        width: channels of a point token, a multiple of ``head_size``.
        latents: number of latent tokens.
        latent_width: channels of a latent token, a multiple of ``head_size``.
        rounds: read-write rounds.
        latent_blocks: self-attention blocks of the latents in each round.
        head_size: channels of an attention head.
        octaves: see `PointFeatures`.
        dropout: probability of dropping a value in a feed-forward layer.
        gradient_checkpointing: recompute blocks in the backward pass to save memory.
        inputs: see `PointBackbone`.

    Raises:
        ValueError: heads do not divide a width.
    """

    def __init__(
        self,
        *,
        channels: int,
        vector_dim: int = 0,
        token_dim: int = 0,
        width: int,
        latents: int,
        latent_width: int,
        rounds: int,
        latent_blocks: int,
        head_size: int = 32,
        octaves: int = 4,
        dropout: float = 0.0,
        gradient_checkpointing: bool = False,
        inputs: Sequence[str] = (),
    ):
        super().__init__(channels, vector_dim, token_dim, width, latent_width, octaves, inputs)
        self.run = checkpointed if gradient_checkpointing else call
        self.latents = nn.Parameter(torch.randn(latents, latent_width))
        self.rounds = nn.ModuleList(
            ReadWriteRound(width, latent_width, self.embedding_dim, latent_blocks, token_dim > 0, head_size, dropout)
            for _ in range(rounds)
        )

    @classmethod
    def fitted(cls, config: Mapping[str, Any], shape: Sequence[int], accelerated: bool) -> dict[str, Any]:
        """Sizes that can be trained in an hour or two."""
        return SIZES_GPU if accelerated else SIZES_CPU

    def forward(self, x: Tensor, log_snr: Tensor, cond: Conditioning | None = None, further: Further = None) -> Tensor:
        """Predict.

        Args:
            x: points at about unit scale, ``(B, channels, N)``, for any N.
            log_snr: ``log(alpha / sigma)``, ``(B,)``; may be infinite.
            cond: conditions of the B clouds; None for the null condition.
            further: values of the further inputs, each ``(B,)``.

        Returns:
            A tensor like ``x``.

        Raises:
            ValueError: ``cond`` holds a vector or tokens, and the network was built for none.
        """
        points, embedding, cond = self.start(x, log_snr, cond, further)
        latents = repeat(self.latents, "m d -> b m d", b=len(x))
        for layer in self.rounds:
            points, latents = self.run(layer, points, latents, embedding, cond)
        return self.end(points, embedding, x)


class ReadWriteRound(nn.Module):
    """Latents read from the points, are processed, and are written back to the points.

    Points ``(B, N, width)`` and latents ``(B, M, latent_width)`` to tensors of the same shapes.
    """

    def __init__(
        self,
        width: int,
        latent_width: int,
        embedding_dim: int,
        latent_blocks: int,
        has_tokens: bool,
        head_size: int,
        dropout: float,
    ):
        super().__init__()
        self.read = Attention(latent_width, width, embedding_dim, head_size=head_size)
        self.attend_condition = (
            Attention(latent_width, latent_width, embedding_dim, head_size=head_size) if has_tokens else None
        )
        self.latent_blocks = nn.ModuleList(
            TransformerBlock(latent_width, embedding_dim, head_size=head_size, dropout=dropout)
            for _ in range(latent_blocks)
        )
        self.write = Attention(width, latent_width, embedding_dim, head_size=head_size)
        self.feed_forward = FeedForward(width, embedding_dim, expansion=2, dropout=dropout)

    def forward(self, points: Tensor, latents: Tensor, embedding: Tensor, cond: Conditioning) -> tuple[Tensor, Tensor]:
        latents = self.read(latents, embedding, points)
        if self.attend_condition is not None:
            latents = self.attend_condition(latents, embedding, cond.tokens, cond.mask)
        for block in self.latent_blocks:
            latents = block(latents, embedding)
        points = self.feed_forward(self.write(points, embedding, latents), embedding)
        return points, latents


class PointTransformer(PointBackbone):
    """Self-attention between all points, with cross-attention to the condition: quadratic in the number of points.

    Nichol et al. (2022), Point-E, section 3.3, https://arxiv.org/abs/2212.08751.

    Args:
        channels: C of the points.
        vector_dim: width of the condition vector; 0 for none.
        token_dim: width of the condition tokens; 0 for none.
        width: channels of a token, a multiple of ``head_size``.
        depth: transformer blocks.
        head_size: channels of an attention head.
        octaves: see `PointFeatures`.
        dropout: probability of dropping a value in a feed-forward layer.
        gradient_checkpointing: recompute blocks in the backward pass to save memory.
        inputs: see `PointBackbone`.

    Raises:
        ValueError: heads do not divide the width.
    """

    def __init__(
        self,
        *,
        channels: int,
        vector_dim: int = 0,
        token_dim: int = 0,
        width: int,
        depth: int,
        head_size: int = 32,
        octaves: int = 4,
        dropout: float = 0.0,
        gradient_checkpointing: bool = False,
        inputs: Sequence[str] = (),
    ):
        super().__init__(channels, vector_dim, token_dim, width, width, octaves, inputs)
        self.run = checkpointed if gradient_checkpointing else call
        self.blocks = nn.ModuleList(
            TransformerBlock(width, self.embedding_dim, head_size=head_size, dropout=dropout) for _ in range(depth)
        )
        self.attend_condition = nn.ModuleList(
            Attention(width, width, self.embedding_dim, head_size=head_size) for _ in range(depth if token_dim else 0)
        )

    def forward(self, x: Tensor, log_snr: Tensor, cond: Conditioning | None = None, further: Further = None) -> Tensor:
        """As `LatentPointTransformer.forward`."""
        points, embedding, cond = self.start(x, log_snr, cond, further)
        for i, block in enumerate(self.blocks):
            if self.attend_condition:
                points = self.attend_condition[i](points, embedding, cond.tokens, cond.mask)
            points = self.run(block, points, embedding)
        return self.end(points, embedding, x)
