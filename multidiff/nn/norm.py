"""Normalisation, plain and adaptive."""

import math

import torch
from torch import Tensor, nn


def group_norm(channels: int, *, affine: bool = True) -> nn.GroupNorm:
    """Group norm with at most 32 groups of at least 4 channels, as small widths need. Works on ``(B, C, *size)``.

    Wu and He (2018), https://arxiv.org/abs/1803.08494.

    Raises:
        ValueError: ``channels`` is not a multiple of 4.
    """
    if channels % 4:
        raise ValueError(f"group norm needs a multiple of 4 channels, got {channels}")
    return nn.GroupNorm(math.gcd(32, channels // 4), channels, affine=affine)


class AdaptiveGroupNorm(nn.Module):
    """``(1 + scale) group_norm(x) + shift``, scale and shift being linear in an embedding.

    ``(B, C, *size)`` and ``(B, E)`` to ``(B, C, *size)``. Dhariwal and Nichol (2021), eq. 3,
    https://arxiv.org/abs/2105.05233, with the identity added to the scale.
    """

    def __init__(self, channels: int, embedding_dim: int):
        super().__init__()
        self.norm = group_norm(channels, affine=False)
        self.modulation = nn.Linear(embedding_dim, 2 * channels)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulation(embedding).reshape(len(x), -1, *[1] * (x.ndim - 2)).chunk(2, dim=1)
        return torch.addcmul(shift, 1 + scale, self.norm(x))
