"""Exact nearest neighbours among features, computed in blocks of rows."""

from collections.abc import Iterator

import torch
from torch import Tensor

_ROWS = 1024


def distances(x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """Euclidean distances between ``x``, ``(N, D)``, and ``y``, ``(M, D)``, in blocks of rows of ``(N, M)``."""
    for start in range(0, len(x), _ROWS):
        yield torch.cdist(x[start : start + _ROWS].double(), y.double())


def nearest(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """For each row of ``x``, the distance to the nearest row of ``y``, ``(N,)``, and its index, ``(N,)``."""
    index = torch.cat([block.argmin(dim=1) for block in distances(x, y)])
    exact = (x.double() - y.double()[index]).norm(dim=1)  # exactly 0 for copies, unlike in cdist
    return exact, index


def neighbour_distances(x: Tensor, k: int) -> Tensor:
    """The distances of each row of ``x``, ``(N, D)``, to the ``k`` nearest others, ascending, ``(N, k)``.

    Raises:
        ValueError: there are not that many others.
    """
    if len(x) <= k:
        raise ValueError(f"the distance to neighbour {k} needs more than {k} samples, got {len(x)}")
    return torch.cat([block.topk(k + 1, dim=1, largest=False).values[:, 1:] for block in distances(x, x)])
