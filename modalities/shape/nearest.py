"""Squared distances from points to the nearest of other points, between many clouds."""

import logging
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from multidiff.evaluation.pairs import in_threads
from multidiff.nn.compilation import or_as_it_is

ROWS = 64
"""Points of one cloud that are held against all of another at once."""

PAYS = 2e10
"""Pairs of points above which compiling, which takes some 10 s, is made up for."""

Nearest = Callable[[Tensor, Tensor], Tensor]
"""Clouds ``(B, N, 3)`` and ``(B, M, 3)``, either of which may be one for all, to squares ``(B, N)``."""

log = logging.getLogger(__name__)


def nearest_for(pairs: int) -> Nearest:
    """What is fastest for so many pairs of points: the digits are the same."""
    return compiled() if pairs >= PAYS else in_blocks


def in_blocks(x: Tensor, y: Tensor) -> Tensor:
    """A `Nearest` that takes memory for a few points at a time, and many passes over it."""
    count = max(len(x), len(y))

    def squares(clouds: tuple[Tensor, Tensor]) -> Tensor:
        return torch.cat([_least(points, clouds[1]) for points in clouds[0].split(ROWS, dim=-1)])

    pairs = zip(*(_coordinates(clouds).expand(3, count, -1).unbind(dim=1) for clouds in (x, y)), strict=True)
    return torch.stack(in_threads(squares, pairs))


@cache
def compiled() -> Nearest:
    """A `Nearest` of one pass, which keeps no distance that is not the least; where nothing compiles, `in_blocks`."""
    run = torch.compile(_least, dynamic=True)
    return or_as_it_is(
        lambda x, y: run(_coordinates(x), _coordinates(y)),
        in_blocks,
        lambda why: log.warning("distances between clouds cannot be compiled and take several times as long: %s", why),
    )


def _coordinates(clouds: Tensor) -> Tensor:
    """``(B, N, 3)`` as ``(3, B, N)``, which lie in memory in this order."""
    return clouds.float().movedim(-1, 0).contiguous()


def _least(x: Tensor, y: Tensor) -> Tensor:
    """``(3, ..., N)`` and ``(3, ..., M)`` to ``(..., N)``."""
    (a, b, c), (d, e, f) = x[..., :, None], y[..., None, :]
    return ((a - d).square() + (b - e).square() + (c - f).square()).amin(dim=-1)
