"""Large samples in tiles: memory does not grow with their size, beyond that of the result itself."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from torch import Tensor

Spans = Sequence[tuple[int, int]]
"""Start and stop along each axis."""


@dataclass(frozen=True)
class Tile:
    """A part of a sample.

    Attributes:
        read: what a function reads of the whole, with a margin.
        own: the part of what it reads that is the tile's own.
    """

    read: Spans
    own: Spans

    @property
    def kept(self) -> Spans:
        """What is the tile's own, in the whole."""
        return [(first + a, first + b) for (first, _), (a, b) in zip(self.read, self.own, strict=True)]


def tiles(size: Sequence[int], tile: int, margin: int) -> Iterator[Tile]:
    """The tiles of a sample of ``size``; their own parts do not overlap.

    Args:
        size: positions along each axis.
        tile: positions of a tile's own part along each axis.
        margin: positions that are read on either side of them, where there are any.
    """
    for starts in product(*(range(0, side, tile) for side in size)):
        kept = [(start, min(start + tile, side)) for start, side in zip(starts, size, strict=True)]
        read = [(max(0, a - margin), min(b + margin, side)) for (a, b), side in zip(kept, size, strict=True)]
        yield Tile(read, [(a - first, b - first) for (a, b), (first, _) in zip(kept, read, strict=True)])


def in_tiles(
    function: Callable[[Tensor], Tensor], x: Tensor, tile: int, margin: int, factor: int, *, shrinks: bool
) -> Tensor:
    """``function(x)``, computed on tiles that overlap.

    It is that of the whole, up to rounding, if an output depends on no more than ``margin`` positions of the input on
    either side of its own.

    Args:
        function: of ``(B, C, *size)`` in ``tile`` plus twice ``margin`` positions at most.
        x: the input; where the output shrinks, its sizes are multiples of ``factor``.
        tile: positions of the input, along each axis, whose output is kept; where the output shrinks, a multiple of
            ``factor``.
        margin: positions around them, likewise.
        factor: by which the output is smaller, or larger, along each axis.
        shrinks: whether it is smaller.
    """
    result: Tensor | None = None

    def outside(spans: Spans) -> Spans:
        return [(a // factor, b // factor) if shrinks else (a * factor, b * factor) for a, b in spans]

    for each in tiles(x.shape[2:], tile, margin):
        part = function(piece(x, each.read))
        if result is None:
            whole = outside([(0, side) for side in x.shape[2:]])
            result = part.new_empty(*part.shape[:2], *(stop for _, stop in whole))
        piece(result, outside(each.kept)).copy_(piece(part, outside(each.own)))
    assert result is not None
    return result


def piece(x: Tensor, spans: Spans) -> Tensor:
    """The part of ``(B, C, *size)`` within a span along each axis, as a view."""
    for axis, (start, stop) in enumerate(spans, start=2):
        x = x.narrow(axis, start, stop - start)
    return x


def up_to_multiple(amount: int, factor: int) -> int:
    """The smallest multiple of ``factor`` that is at least ``amount``."""
    return -(-amount // factor) * factor
