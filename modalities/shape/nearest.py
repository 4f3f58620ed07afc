"""Squared distances from points to the nearest of other points, between many clouds."""

import logging
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from multidiff.evaluation.pairs import in_threads
from multidiff.nn.compilation import with_fallback

BLOCK = 2**17
"""Distances that are computed at once; in single precision, they fit into the cache of a core."""

WORTH_COMPILING = 2e10
"""Pairs of points above which compilation, about 10 s, saves time."""

Nearest = Callable[[Tensor, Tensor], Tensor]
"""Clouds ``(B, N, 3)`` and ``(B, M, 3)``, either of which may have B = 1, to squared distances ``(B, N)``."""

log = logging.getLogger(__name__)


def nearest_for(pairs: int) -> Nearest:
    """The fastest function for this number of pairs of points; the results are equal."""
    return compiled() if pairs >= WORTH_COMPILING else in_blocks


def in_blocks(x: Tensor, y: Tensor) -> Tensor:
    """A `Nearest` that computes a few clouds, or a few points of one, at a time."""
    count, points, others = max(len(x), len(y)), x.shape[1], y.shape[1]
    clouds, rows = max(1, BLOCK // (points * others)), max(1, BLOCK // others)

    def squares(pair: tuple[Tensor, Tensor]) -> Tensor:
        return torch.cat([_least(part, pair[1]) for part in pair[0].split(rows, dim=-1)], dim=-1)

    groups = (_coordinates(each).expand(3, count, -1).split(clouds, dim=1) for each in (x, y))
    return torch.cat(in_threads(squares, zip(*groups, strict=True)))


@cache
def compiled() -> Nearest:
    """A `Nearest` in one pass, which stores minima alone; `in_blocks` where compilation fails."""
    run = torch.compile(_least, dynamic=True)
    return with_fallback(
        lambda x, y: run(_coordinates(x), _coordinates(y)),
        in_blocks,
        lambda why: log.warning("distances between clouds cannot be compiled and take several times as long: %s", why),
    )


def _coordinates(clouds: Tensor) -> Tensor:
    """``(B, N, 3)`` as contiguous ``(3, B, N)``."""
    return clouds.float().movedim(-1, 0).contiguous()


def _least(x: Tensor, y: Tensor) -> Tensor:
    """``(3, ..., N)`` and ``(3, ..., M)`` to ``(..., N)``."""
    (a, b, c), (d, e, f) = x[..., :, None], y[..., None, :]
    return ((a - d).square() + (b - e).square() + (c - f).square()).amin(dim=-1)
