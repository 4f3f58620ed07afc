"""Networks in which an output depends on a bounded neighbourhood of the input alone.

They normalise over channels, never over positions, and have no attention. So large inputs can be computed in tiles, and
the result is that of the whole.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multidiff.nn.initialization import zero_init
from multidiff.nn.residual import Convolution, convolution


class ChannelNorm(nn.Module):
    """RMS norm over the channels at each position, with a learned gain; ``(B, C, *size)``."""

    def __init__(self, channels: int):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-6)
        return x * scale * self.gain.reshape(-1, *[1] * (x.ndim - 2)).to(x.dtype)


class Snake(nn.Module):
    """``x + sin(a x)^2 / a`` with a learned frequency ``a`` for each channel: an activation for periodic signals.

    Ziyin et al. (2020), https://arxiv.org/abs/2006.08195.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.log_frequency = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        a = self.log_frequency.exp().reshape(-1, *[1] * (x.ndim - 2)).to(x.dtype)
        return x + torch.sin(a * x).square() / a


class LocalBlock(nn.Module):
    """A residual block of two convolutions, the identity at initialisation; ``(B, C, *size)`` to the same.

    Args:
        dims: number of dimensions of ``size``: 1, 2 or 3.
        channels: C.
        kernel: size of the convolutions, odd.
        snake: whether the activation is `Snake` rather than SiLU.
    """

    def __init__(self, dims: int, channels: int, kernel: int, snake: bool):
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.acts = nn.ModuleList(Snake(channels) if snake else nn.SiLU() for _ in range(2))
        self.conv_in = convolution(dims, channels, channels, kernel)
        self.conv_out = zero_init(convolution(dims, channels, channels, kernel))

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.acts
        return x + self.conv_out(second(self.conv_in(first(self.norm(x)))))


def patching(dims: int, in_channels: int, out_channels: int, stride: int) -> Convolution:
    """A linear layer on blocks of ``stride`` positions along each axis; a convolution of 3 where ``stride`` is 1."""
    kinds: dict[int, type[Convolution]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
    if stride == 1:
        return convolution(dims, in_channels, out_channels, 3)
    return kinds[dims](in_channels, out_channels, stride, stride)


class Unpatching(nn.Module):
    """The reverse of `patching`: nearest-neighbour upsampling by ``stride`` and a convolution.

    The convolution comes before the upsampling of its output, for speed: each of its output channels is one position
    of a block (sub-pixel convolution). Shi et al. (2016), https://arxiv.org/abs/1609.05158.
    """

    def __init__(self, dims: int, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.stride, self.dims = stride, dims
        self.conv = convolution(dims, in_channels, out_channels * stride**dims, 3)

    def forward(self, x: Tensor) -> Tensor:
        h, s = self.conv(x), self.stride
        if s == 1:
            return h
        if self.dims == 2:
            return F.pixel_shuffle(h, s)
        batch, size = len(h), h.shape[2:]
        blocks = h.reshape(batch, -1, *[s] * self.dims, *size)
        axes = [axis for i in range(self.dims) for axis in (2 + self.dims + i, 2 + i)]
        return blocks.permute(0, 1, *axes).reshape(batch, -1, *(side * s for side in size))


class LocalEncoder(nn.Sequential):
    """Blocks at ever lower resolution; ``(B, in_channels, *size)`` to ``(B, out_channels, *size / factor)``.

    Args:
        dims: number of dimensions of ``size``.
        in_channels: of the input.
        out_channels: of the output.
        widths: channels of each stage, highest resolution first.
        strides: downsampling factor before each stage; the factor is their product.
        blocks: of each stage.
        kernel: size of the convolutions of blocks, odd.
        snake: whether the activation is `Snake` rather than SiLU.
    """

    def __init__(
        self,
        dims: int,
        in_channels: int,
        out_channels: int,
        *,
        widths: Sequence[int],
        strides: Sequence[int],
        blocks: Sequence[int],
        kernel: int,
        snake: bool,
    ):
        layers: list[nn.Module] = []
        before = in_channels
        for width, stride, count in zip(widths, strides, blocks, strict=True):
            layers.append(patching(dims, before, width, stride))
            layers += [LocalBlock(dims, width, kernel, snake) for _ in range(count)]
            before = width
        super().__init__(*layers, ChannelNorm(before), convolution(dims, before, out_channels, 3))


class LocalDecoder(nn.Sequential):
    """The mirror image of `LocalEncoder`, with its arguments: ``in_channels`` are those of the latents."""

    def __init__(
        self,
        dims: int,
        in_channels: int,
        out_channels: int,
        *,
        widths: Sequence[int],
        strides: Sequence[int],
        blocks: Sequence[int],
        kernel: int,
        snake: bool,
    ):
        layers: list[nn.Module] = [convolution(dims, in_channels, widths[-1], 3)]
        stages = list(zip(widths, strides, blocks, [out_channels, *widths[:-1]], strict=True))
        for width, stride, count, after in reversed(stages):
            layers += [LocalBlock(dims, width, kernel, snake) for _ in range(count)]
            layers.append(Unpatching(dims, width, after, stride))
        super().__init__(*layers)


def encoder_reach(strides: Sequence[int], blocks: Sequence[int], kernel: int) -> int:
    """Positions of the input, on either side of its block, that an output of `LocalEncoder` depends on."""
    reach, scale = 0, 1
    for stride, count in zip(strides, blocks, strict=True):
        reach += scale if stride == 1 else 0
        scale *= stride
        reach += count * 2 * (kernel // 2) * scale
    return reach + scale


def decoder_reach(strides: Sequence[int], blocks: Sequence[int], kernel: int) -> int:
    """Latents, on either side of its own, that an output of `LocalDecoder` depends on."""
    reach, scale = 1.0, 1
    for stride, count in reversed(list(zip(strides, blocks, strict=True))):
        reach += (count * 2 * (kernel // 2) + 1) / scale
        scale *= stride
    return -int(-reach // 1)
