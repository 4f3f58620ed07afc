"""The backbones for point clouds: sets in, sets out, of any number of points.

Points have no order, so no position is encoded but their own coordinates, and permuting them permutes the output.
"""

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from multidiff.diffusion.conditioning import Conditioning
from multidiff.nn.checkpointing import call, recomputed
from multidiff.nn.embeddings import Embedding
from multidiff.nn.initialization import zero
from multidiff.nn.transformer import (
    AdaptiveLayerNorm,
    Attention,
    ConditionTokens,
    FeedForward,
    TransformerBlock,
)


class PointFeatures(nn.Module):
    """Each point's channels, with cosines and sines of them in octaves, as a vector: ``(B, C, N)`` to ``(B, N, D)``.

    Tancik et al. (2020), https://arxiv.org/abs/2006.10739: without them a network sees nearby points as one.

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
    """What both backbones share: embedding, features of the points, the condition's tokens, and the head.

    Args:
        channels: C of the points.
        vector_dim: width of the condition vector; 0 for none.
        token_dim: width of the condition tokens; 0 for none.
        width: channels of a point inside.
        steered: channels of what reads the condition's tokens.
        octaves: see `PointFeatures`.
    """

    def __init__(self, channels: int, vector_dim: int, token_dim: int, width: int, steered: int, octaves: int):
        super().__init__()
        self.embedding_dim = 2 * width
        self.token_dim = token_dim
        self.embedding = Embedding(self.embedding_dim, vector_dim)
        self.features = PointFeatures(channels, width, octaves)
        self.tokens = ConditionTokens(token_dim, steered) if token_dim else None
        self.norm = AdaptiveLayerNorm(width, self.embedding_dim)
        self.head = zero(nn.Linear(width, channels))
        self.gain = zero(nn.Linear(self.embedding_dim, channels))

    def start(self, x: Tensor, log_snr: Tensor, cond: Conditioning | None) -> tuple[Tensor, Tensor, Conditioning]:
        """Points ``(B, N, width)``, embedding ``(B, E)`` and the condition in the network's widths.

        Raises:
            ValueError: ``cond`` holds a vector or tokens, and the network was made for none.
        """
        cond = cond or Conditioning()
        if cond.tokens is not None and self.tokens is None:
            raise ValueError("condition tokens were given to a backbone with token_dim=0")
        embedding = self.embedding(log_snr, cond.vector)
        if self.tokens is None:
            return self.features(x), embedding, Conditioning()
        tokens, mask = self.tokens(cond.tokens, cond.mask, len(x))
        given = torch.ones(tokens.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask
        return self.features(x), embedding, Conditioning(tokens=tokens, mask=given)

    def end(self, points: Tensor, embedding: Tensor, x: Tensor) -> Tensor:
        """``(B, N, width)`` to ``(B, C, N)``, beside as much of each channel of ``x`` as suits the noise level.

        What a linear denoiser would do, it need not do through the width of a point.
        """
        change = rearrange(self.head(self.norm(points, embedding)), "b n c -> b c n")
        return torch.addcmul(change, self.gain(embedding)[:, :, None], x)


class LatentPointTransformer(PointBackbone):
    """Points write to a few latent tokens and read from them: the cost is linear in the number of points.

    Each round, the latents read the points (and the condition's tokens), think among themselves, and the points read
    the latents. The output is zero at first. Jabri et al. (2023), RIN, https://arxiv.org/abs/2212.11972; Huang et al.
    (2024), PointInfinity, https://arxiv.org/abs/2404.03566; the inducing points of Lee et al. (2019), Set Transformer,
    https://arxiv.org/abs/1810.00825.

    Args:
        channels: C of the points.
        vector_dim: width of the condition vector; 0 for none.
        token_dim: width of the condition tokens; 0 for none.
        width: channels of a point inside, a multiple of ``head_size``.
        latents: how many latent tokens.
        latent_width: channels of a latent, a multiple of ``head_size``.
        rounds: of writing, thinking and reading.
        thinking: self-attention blocks of the latents in each round.
        head_size: channels of an attention head.
        octaves: see `PointFeatures`.
        dropout: probability that a value within a perceptron is dropped.
        gradient_checkpointing: whether blocks are computed again in the backward pass rather than remembered.

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
        thinking: int,
        head_size: int = 32,
        octaves: int = 4,
        dropout: float = 0.0,
        gradient_checkpointing: bool = False,
    ):
        super().__init__(channels, vector_dim, token_dim, width, latent_width, octaves)
        self.run = recomputed if gradient_checkpointing else call
        self.latents = nn.Parameter(torch.randn(latents, latent_width))
        self.rounds = nn.ModuleList(
            Round(width, latent_width, self.embedding_dim, thinking, token_dim > 0, head_size, dropout)
            for _ in range(rounds)
        )

    def forward(self, x: Tensor, log_snr: Tensor, cond: Conditioning | None = None) -> Tensor:
        """Predict.

        Args:
            x: points at about unit scale, ``(B, channels, N)``, N being any number.
            log_snr: ``log(alpha / sigma)``, ``(B,)``; may be infinite.
            cond: conditions of the B clouds; None is the null condition.

        Returns:
            A tensor like ``x``.

        Raises:
            ValueError: ``cond`` holds a vector or tokens, and the network was made for none.
        """
        points, embedding, cond = self.start(x, log_snr, cond)
        latents = repeat(self.latents, "m d -> b m d", b=len(x))
        for layer in self.rounds:
            points, latents = self.run(layer, points, latents, embedding, cond)
        return self.end(points, embedding, x)


class Round(nn.Module):
    """Latents read, think, and are read: ``(B, N, width)`` and ``(B, M, latent_width)`` to the same."""

    def __init__(
        self,
        width: int,
        latent_width: int,
        embedding_dim: int,
        thinking: int,
        reads_tokens: bool,
        head_size: int,
        dropout: float,
    ):
        super().__init__()
        self.read = Attention(latent_width, width, embedding_dim, head_size=head_size)
        self.listen = (
            Attention(latent_width, latent_width, embedding_dim, head_size=head_size) if reads_tokens else None
        )
        self.think = nn.ModuleList(
            TransformerBlock(latent_width, embedding_dim, head_size=head_size, dropout=dropout) for _ in range(thinking)
        )
        self.write = Attention(width, latent_width, embedding_dim, head_size=head_size)
        self.feed_forward = FeedForward(width, embedding_dim, expansion=2, dropout=dropout)

    def forward(self, points: Tensor, latents: Tensor, embedding: Tensor, cond: Conditioning) -> tuple[Tensor, Tensor]:
        latents = self.read(latents, embedding, points)
        if self.listen is not None:
            latents = self.listen(latents, embedding, cond.tokens, cond.mask)
        for block in self.think:
            latents = block(latents, embedding)
        points = self.feed_forward(self.write(points, embedding, latents), embedding)
        return points, latents


class PointTransformer(PointBackbone):
    """One token a point, beside those of the condition: simple, and quadratic in the number of points.

    Nichol et al. (2022), Point-E, section 3.3, https://arxiv.org/abs/2212.08751.

    Args:
        channels: C of the points.
        vector_dim: width of the condition vector; 0 for none.
        token_dim: width of the condition tokens; 0 for none.
        width: channels of a token, a multiple of ``head_size``.
        depth: transformer blocks.
        head_size: channels of an attention head.
        octaves: see `PointFeatures`.
        dropout: probability that a value within a perceptron is dropped.
        gradient_checkpointing: whether blocks are computed again in the backward pass rather than remembered.

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
    ):
        super().__init__(channels, vector_dim, token_dim, width, width, octaves)
        self.run = recomputed if gradient_checkpointing else call
        self.blocks = nn.ModuleList(
            TransformerBlock(width, self.embedding_dim, head_size=head_size, dropout=dropout) for _ in range(depth)
        )
        self.listen = nn.ModuleList(
            Attention(width, width, self.embedding_dim, head_size=head_size) for _ in range(depth if token_dim else 0)
        )

    def forward(self, x: Tensor, log_snr: Tensor, cond: Conditioning | None = None) -> Tensor:
        """As `LatentPointTransformer.forward`."""
        points, embedding, cond = self.start(x, log_snr, cond)
        for i, block in enumerate(self.blocks):
            if self.listen:
                points = self.listen[i](points, embedding, cond.tokens, cond.mask)
            points = self.run(block, points, embedding)
        return self.end(points, embedding, x)
