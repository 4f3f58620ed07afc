"""Large samples in tiles: memory does not grow with their size, beyond that of the result itself."""

from collections.abc import Callable, Sequence
from itertools import product

from torch import Tensor


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

    def outside(position: int) -> int:
        return position // factor if shrinks else position * factor

    for starts in product(*(range(0, side, tile) for side in x.shape[2:])):
        kept = [(start, min(start + tile, side)) for start, side in zip(starts, x.shape[2:], strict=True)]
        read = [(max(0, a - margin), min(b + margin, side)) for (a, b), side in zip(kept, x.shape[2:], strict=True)]
        part = function(_piece(x, read))
        inner = [(outside(a - first), outside(b - first)) for (a, b), (first, _) in zip(kept, read, strict=True)]
        if result is None:
            result = part.new_empty(*part.shape[:2], *(outside(side) for side in x.shape[2:]))
        _piece(result, [(outside(a), outside(b)) for a, b in kept]).copy_(_piece(part, inner))
    assert result is not None
    return result


def _piece(x: Tensor, spans: Sequence[tuple[int, int]]) -> Tensor:
    """The part of ``(B, C, *size)`` within a span along each axis, as a view."""
    for axis, (start, stop) in enumerate(spans, start=2):
        x = x.narrow(axis, start, stop - start)
    return x


def up_to_multiple(amount: int, factor: int) -> int:
    """The smallest multiple of ``factor`` that is at least ``amount``."""
    return -(-amount // factor) * factor
