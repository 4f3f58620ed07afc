"""`AutoencoderKL` and `AutoencoderTiny` of diffusers in tiles, with the result of the whole.

Two kinds of layers of `AutoencoderKL` see the whole picture. Its attention is at the resolution of the latents, where
memory is small: the middle is computed without tiles. Its group norms divide by statistics of the whole: at the higher
resolutions, where memory is large, these are measured over all tiles, for one norm after another, and only then used.
Each stage between two resolutions so goes through its layers once for each of its norms, which is 4 times the
computation; what is between the layers is computed again rather than kept.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from multidiff.codecs.tiles import in_tiles, piece, tiles, up_to_multiple

TILE = 128
"""Positions of latents along each axis that are encoded and decoded at once; so is a stage of such inputs."""

FACTOR = 2
"""Between the resolutions of two stages."""

LOCAL = ("DownEncoderBlock2D", "UpDecoderBlock2D")
"""Blocks of `AutoencoderKL` without attention."""

Layers = Generator[tuple[nn.GroupNorm, Tensor], Tensor, Tensor]
"""Layers of a stage: they yield what a group norm shall normalise, are sent the result, and return their output."""


@dataclass(frozen=True)
class Stage:
    """Layers between two resolutions that are local except for their group norms.

    Attributes:
        layers: from the input, ``(B, C, H, W)``.
        margin: positions of the input on either side that an output depends on.
        shrinks: whether the output is smaller by `FACTOR`, rather than larger.
    """

    layers: Callable[[Tensor], Layers]
    margin: int
    shrinks: bool


@dataclass(frozen=True)
class Statistics:
    """Mean and deviation of each group of channels, ``(B, G)``."""

    mean: Tensor
    deviation: Tensor

    def normalised(self, norm: nn.GroupNorm, x: Tensor) -> Tensor:
        """What ``norm`` would make of ``x``, if these were its statistics."""
        each = x.shape[1] // norm.num_groups
        scale = norm.weight / self.deviation.repeat_interleave(each, dim=1)
        shift = norm.bias - self.mean.repeat_interleave(each, dim=1) * scale
        return torch.addcmul(shift[:, :, None, None], _precise(x), scale[:, :, None, None]).to(x.dtype)


def is_tiled(network: Any) -> bool:
    """Whether the ``network`` is of layers that tiles are known for."""
    if type(network).__name__ == "AutoencoderTiny":
        return True
    blocks = [*network.encoder.down_blocks, *network.decoder.up_blocks]
    return len(blocks) > 2 and all(type(block).__name__ in LOCAL for block in blocks)


def encoded(network: Any, x: Tensor, tile: int) -> Tensor:
    """``network.encoder(x)`` and what follows it, up to the parameters of the posterior, or to the latents."""
    encoder = network.encoder
    if not hasattr(encoder, "mid_block"):
        margin, factor = reach(encoder.layers)
        return in_tiles(encoder, x, tile * factor, up_to_multiple(margin, factor), factor, shrinks=True)
    *blocks, last = encoder.down_blocks
    for block in blocks:
        first = encoder.conv_in if block is blocks[0] else None
        x = staged(_down(first, block), x, tile * FACTOR)
    for layer in last.resnets:
        x = layer(x, None)
    x = encoder.conv_out(encoder.conv_act(encoder.conv_norm_out(encoder.mid_block(x))))
    return x if network.quant_conv is None else network.quant_conv(x)


def decoded(network: Any, z: Tensor, tile: int) -> Tensor:
    """``network.decode(z).sample``."""
    decoder = network.decoder
    if not hasattr(decoder, "mid_block"):
        margin, factor = reach(decoder.layers)
        return in_tiles(decoder, z, tile, margin, factor, shrinks=False)
    x = decoder.mid_block(decoder.conv_in(z if network.post_quant_conv is None else network.post_quant_conv(z)))
    for layer in decoder.up_blocks[0].resnets:
        x = layer(x, None)
    for before, block in pairwise(decoder.up_blocks):
        head = decoder if block is decoder.up_blocks[-1] else None
        x = staged(_up(before.upsamplers, block.resnets, head), x, tile)
    return x


def staged(stage: Stage, x: Tensor, tile: int) -> Tensor:
    """The output of a stage for the input ``x``, ``(B, C, H, W)``, in tiles of ``tile`` positions of the input."""
    known: list[Statistics] = []
    while (found := _next_statistics(stage, x, tile, known)) is not None:
        known.append(found)
    return in_tiles(lambda part: _advanced(stage, part, known)[1], x, tile, stage.margin, FACTOR, shrinks=stage.shrinks)


def reach(layers: nn.Sequential) -> tuple[int, int]:
    """Of convolutions and upsampling: positions of the input that an output depends on, on either side, and the factor.

    The factor is that between the sizes of input and output.
    """
    amount, step = 0.0, 1.0
    for layer in layers.modules():
        if isinstance(layer, nn.Conv2d):
            amount += layer.kernel_size[0] // 2 * step
            step *= layer.stride[0]
        elif isinstance(layer, nn.Upsample):
            amount += step  # of those that interpolate
            step /= float(layer.scale_factor)  # type: ignore[arg-type]
    return int(-(-amount // 1)), round(max(step, 1 / step))


def _next_statistics(stage: Stage, x: Tensor, tile: int, known: Sequence[Statistics]) -> Statistics | None:
    """Those of the first group norm of a stage whose statistics are not ``known``; None if all are."""
    count, mean, square, norm = 0, torch.zeros(()), torch.zeros(()), None
    for each in tiles(x.shape[2:], tile, stage.margin):
        part = piece(x, each.read)
        norm, h = _advanced(stage, part, known)
        if norm is None:
            return None
        scale = h.shape[-1] // part.shape[-1]
        own = piece(h, [(a * scale, b * scale) for a, b in each.own])
        groups = _precise(own).unflatten(1, (norm.num_groups, -1)).flatten(2)
        spread, middle = torch.var_mean(groups, dim=2, correction=0)
        middle, here = middle.double(), groups.shape[2]
        mean, square = mean.to(middle) + here * middle, square.to(middle) + here * (spread + middle**2)
        count += here
    assert norm is not None
    mean = mean / count
    deviation = torch.sqrt(square / count - mean**2 + norm.eps)
    return Statistics(mean.to(groups.dtype), deviation.to(groups.dtype))


def _advanced(stage: Stage, x: Tensor, known: Sequence[Statistics]) -> tuple[nn.GroupNorm | None, Tensor]:
    """The first group norm without ``known`` statistics and what it shall normalise; or None and the output."""
    layers = stage.layers(x)
    try:
        norm, h = next(layers)
        for statistics in known:
            norm, h = layers.send(statistics.normalised(norm, h))
    except StopIteration as end:
        return None, end.value
    return norm, h


def _down(first: nn.Module | None, block: Any) -> Stage:
    """The first convolution, if it is given, the residual layers of ``block``, and its downsampling."""

    def layers(x: Tensor) -> Layers:
        h = x if first is None else first(x)
        h = yield from _residual(block.resnets, h)
        for layer in block.downsamplers:
            h = layer(h)
        return h

    return Stage(layers, up_to_multiple(1 + 2 * len(block.resnets) + FACTOR, FACTOR), shrinks=True)


def _up(upsamplers: Sequence[Any], resnets: Sequence[Any], head: Any) -> Stage:
    """Upsampling, residual layers, and the last layers of the decoder ``head``, if it is given."""

    def layers(x: Tensor) -> Layers:
        for layer in upsamplers:
            x = layer(x)
        h = yield from _residual(resnets, x)
        return h if head is None else head.conv_out(head.conv_act((yield head.conv_norm_out, h)))

    return Stage(layers, up_to_multiple(2 + 2 * len(resnets), FACTOR) // FACTOR, shrinks=False)


def _residual(resnets: Sequence[Any], x: Tensor) -> Layers:
    """Layers of `ResnetBlock2D`."""
    for layer in resnets:
        h = layer.conv1(layer.nonlinearity((yield layer.norm1, x)))
        h = layer.conv2(layer.nonlinearity((yield layer.norm2, h)))
        x = ((x if layer.conv_shortcut is None else layer.conv_shortcut(x)) + h) / layer.output_scale_factor
    return x


def _precise(x: Tensor) -> Tensor:
    """``x`` in float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
