"""Samples that repeat others: exact copies among all, near-duplicates among some."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from multidiff.data.dataset import Unaugmented
from multidiff.data.files import sha256
from multidiff.data.folder import Prepared
from multidiff.data.store import Store

COMPARED = 2000
"""Samples that are compared with each other for near equality, at most."""

BEGINNING = 1 << 16
"""Bytes of a file that are compared before all of it is read."""

TOGETHER = 8
"""Neighbours that are compared with each other, at least: a changed copy is often beside its original."""

PIECE = 1024
"""Numbers in the middle of two arrays that must be equal before the whole arrays are read."""

BINS = {1: 64, 2: 8, 3: 4}
"""Cells along each axis of the sketch by which samples are compared, by the number of axes."""

NEAR = 0.02
"""Difference of the sketches of near-duplicates, relative to either of them."""


@dataclass(frozen=True)
class Duplicates:
    """What was found.

    Attributes:
        pairs: the first sample, and one that repeats it, in the order of the latter.
        compared: number of samples that were compared for near equality.
        complete: whether these were all but the exact copies.
    """

    pairs: list[tuple[int, int]]
    compared: int
    complete: bool


def duplicates(dataset: Prepared) -> Duplicates:
    """Samples that are equal, or nearly equal, to an earlier one.

    Arrays of the store that are equal to the bit are found among all. Of the others, at most `COMPARED` samples are
    compared, by the local means of their values and of their magnitudes.
    """
    arrays = dataset.sources
    first = _first_equal(dataset.store)[arrays]
    starts = np.searchsorted(arrays, np.arange(len(dataset.store)))
    copies = np.flatnonzero(first != arrays)
    originals = starts[first[copies]] + copies - starts[arrays[copies]]
    distinct = np.flatnonzero(first == arrays)
    rows = distinct[_spread(len(distinct))].tolist()
    pairs = list(zip(originals.tolist(), copies.tolist(), strict=True)) + _near(dataset, rows)
    return Duplicates(sorted(pairs, key=lambda pair: pair[1]), len(rows), len(rows) == len(distinct))


def equal_files(paths: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Files whose content is that of an earlier one, each behind that one, in the order of ``paths``.

    Only files of equal sizes and beginnings are read as a whole. One that cannot be read equals no other.
    """
    beginnings: dict[Path, tuple[int, bytes]] = {}
    for path in paths:
        with suppress(OSError), path.open("rb") as file:
            beginnings[path] = path.stat().st_size, hashlib.sha256(file.read(BEGINNING)).digest()
    alike = Counter(beginnings.values())
    seen: dict[str, Path] = {}
    pairs = []
    for path, beginning in beginnings.items():
        if alike[beginning] > 1:
            with suppress(OSError):
                first = seen.setdefault(sha256(path), path)
                if first is not path:
                    pairs.append((first, path))
    return pairs


def _first_equal(store: Store) -> np.ndarray:
    """Of each array, the index of the first one that equals it, ``(N,)``."""
    alike: dict[tuple[tuple[int, ...], bytes], list[int]] = {}
    for i, shape in enumerate(store.shapes.tolist()):
        values = store[i].reshape(-1)
        middle = max(0, (len(values) - PIECE) // 2)
        alike.setdefault((tuple(shape), values[middle : middle + PIECE].tobytes()), []).append(i)
    first = np.arange(len(store))
    for rows in alike.values():
        seen: dict[bytes, int] = {}
        for i in rows if len(rows) > 1 else ():
            first[i] = seen.setdefault(hashlib.sha256(np.ascontiguousarray(store[i]).data).digest(), i)
    return first


def _spread(count: int) -> list[int]:
    """Rows of ``count`` that are compared: all, or `COMPARED` in groups of neighbours at equal distances."""
    if count <= COMPARED:
        return list(range(count))
    starts = np.linspace(0, count - TOGETHER, COMPARED // TOGETHER).astype(int)
    return (starts[:, None] + np.arange(TOGETHER)).flatten().tolist()


def _near(dataset: Prepared, rows: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of ``rows`` that are nearly equal, each row with the first one that it repeats."""
    data = Unaugmented(dataset)
    sketches = torch.stack([_sketch(data[row]) for row in rows]).double()
    distances = torch.cdist(sketches, sketches, compute_mode="use_mm_for_euclid_dist")  # exact enough in float64
    near = (distances < NEAR * sketches.norm(dim=1)).tril(-1)
    return [(rows[int(near[i].nonzero()[0])], rows[i]) for i in near.any(dim=1).nonzero().flatten().tolist()]


def _sketch(data: Tensor) -> Tensor:
    axes = data.ndim - 1
    pool = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[axes - 1]
    return torch.cat([pool(values, BINS[axes]).flatten() for values in (data, data.abs())])
