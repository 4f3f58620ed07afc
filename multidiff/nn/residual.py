"""The residual block of convolutional backbones."""

import torch.nn.functional as F
from torch import Tensor, nn

from multidiff.nn.initialization import zero_init
from multidiff.nn.norm import AdaptiveGroupNorm, group_norm

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d


def convolution(dims: int, in_channels: int, out_channels: int, kernel_size: int) -> Convolution:
    """A size-preserving convolution in ``dims`` dimensions; ``kernel_size`` must be odd."""
    kinds: dict[int, type[Convolution]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
    return kinds[dims](in_channels, out_channels, kernel_size, padding=kernel_size // 2)


class ResidualBlock(nn.Module):
    """Residual block with two convolutions and adaptive group norm, initialised to the identity (or a projection).

    ``(B, in_channels, *size)`` and ``(B, embedding_dim)`` to ``(B, out_channels, *size)``. Dhariwal and Nichol (2021),
    section 3, https://arxiv.org/abs/2105.05233.

    Args:
        in_channels: input channels, a multiple of 4.
        out_channels: output channels, a multiple of 4; if different from ``in_channels``, the skip is a linear
            projection.
        embedding_dim: width of the embedding.
        dims: number of dimensions of ``size``: 1, 2 or 3.
        dropout: dropout probability before the last convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, embedding_dim: int, *, dims: int, dropout: float = 0.0):
        super().__init__()
        self.norm_in = group_norm(in_channels)
        self.conv_in = convolution(dims, in_channels, out_channels, 3)
        self.norm_out = AdaptiveGroupNorm(out_channels, embedding_dim)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = zero_init(convolution(dims, out_channels, out_channels, 3))
        self.skip = nn.Identity() if in_channels == out_channels else convolution(dims, in_channels, out_channels, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv_in(F.silu(self.norm_in(x)))
        h = self.conv_out(self.dropout(F.silu(self.norm_out(h, embedding))))
        return self.skip(x) + h
