"""Normalisation layers."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def group_norm(channels: int) -> nn.GroupNorm:
    """Group norm on ``(B, C, *size)``, with `num_groups` groups.

    Wu and He (2018), https://arxiv.org/abs/1803.08494.
    """
    return nn.GroupNorm(num_groups(channels), channels)


def num_groups(channels: int) -> int:
    """Number of groups: at most 32, with at least 4 channels each.

    Raises:
        ValueError: ``channels`` is not a multiple of 4.
    """
    if channels % 4:
        raise ValueError(f"group norm needs a multiple of 4 channels, got {channels}")
    return math.gcd(32, channels // 4)


class AdaptiveGroupNorm(nn.Module):
    """``(1 + scale) group_norm(x) + shift``, where scale and shift are linear in an embedding.

    ``(B, C, *size)`` and ``(B, E)`` to ``(B, C, *size)``. Dhariwal and Nichol (2021), eq. 3,
    https://arxiv.org/abs/2105.05233, with 1 added to the scale.
    """

    def __init__(self, channels: int, embedding_dim: int):
        super().__init__()
        self.groups = num_groups(channels)
        self.modulation = nn.Linear(embedding_dim, 2 * channels)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulation(embedding).to(x.dtype).chunk(2, dim=1)
        if torch.compiler.is_compiling() or not x.is_contiguous():  # already fused; would be copied
            scale, shift = (of.reshape(*of.shape, *[1] * (x.ndim - 2)) for of in (scale, shift))
            return torch.addcmul(shift, 1 + scale, F.group_norm(x, self.groups))
        # View the batch as channels of one sample with weights of their own: one pass instead of three.
        channels, groups = x.flatten(0, 1)[None], len(x) * self.groups
        return F.group_norm(channels, groups, (1 + scale).flatten(), shift.flatten()).view_as(x)


class RootMeanSquareNorm(nn.RMSNorm):
    """`torch.nn.RMSNorm` in the dtype of its weights, since torch has no fused kernel for mixed dtypes."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype)).to(x.dtype)
