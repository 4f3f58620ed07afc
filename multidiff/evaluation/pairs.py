"""Scores of two sets from the distances between their samples.

Yang et al. (2019), PointFlow, section 5.1, https://arxiv.org/abs/1906.12320; 1-NNA after Lopez-Paz and Oquab (2017),
https://arxiv.org/abs/1610.06545; coverage and minimum matching distance after Achlioptas et al. (2018),
https://arxiv.org/abs/1707.02392.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch

T = TypeVar("T")
R = TypeVar("R")


def in_threads(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """``function`` of each item, on as many threads as torch has; torch uses one thread within each call.

    Operations on small tensors gain nothing from more threads within them, and would wait for one another.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(function, items))
    finally:
        torch.set_num_threads(threads)


class Pairs:
    """Symmetric distances between n samples, each computed when a nearest neighbour depends on it.

    Args:
        bounds: lower bounds of the distances, ``(n, n)``.
        distance: of two samples by their numbers; None if the bounds are the distances.
    """

    def __init__(self, bounds: np.ndarray, distance: Callable[[int, int], float] | None = None):
        self.bounds, self.distance = bounds, distance
        self.known: dict[tuple[int, int], float] = {}

    def __call__(self, i: int, j: int) -> float:
        """The distance of samples i and j."""
        if self.distance is None:
            return float(self.bounds[i, j])
        pair = (min(i, j), max(i, j))
        if pair not in self.known:
            self.known[pair] = self.distance(*pair)
        return self.known[pair]

    def nearest(self, i: int, among: Sequence[int]) -> tuple[int, float]:
        """The nearest to sample i of the samples ``among``, except itself, and its distance."""
        others = np.array([j for j in among if j != i])
        found, least = -1, np.inf
        for j in others[np.argsort(self.bounds[i, others], kind="stable")].tolist():
            if self.bounds[i, j] >= least:
                break
            if (distance := self(i, j)) < least:
                found, least = j, distance
        return found, least


def two_set_scores(pairs: Pairs, samples: Sequence[int], real: Sequence[int]) -> dict[str, float]:
    """1-NNA, coverage and minimum matching distance of ``samples`` against as many ``real`` ones.

    - ``1nna``: the accuracy of the nearest neighbour, of both sets together, as a classifier of the set: 0.5 if the
      sets are indistinguishable, 1 if they are separate, below 0.5 if samples are copies of real ones.
    - ``coverage``: the fraction of real samples that are the nearest to any generated one.
    - ``mmd``: the mean distance from a real sample to the nearest generated one.
    """
    own = [set(samples)] * len(samples) + [set(real)] * len(real)
    both = [*samples, *real]
    neighbours = in_threads(lambda i: pairs.nearest(i, both)[0], both)
    covered = in_threads(lambda i: pairs.nearest(i, real)[0], samples)
    matched = in_threads(lambda i: pairs.nearest(i, samples)[1], real)
    return {
        "1nna": float(np.mean([j in same for j, same in zip(neighbours, own, strict=True)])),
        "coverage": len(set(covered)) / len(real),
        "mmd": float(np.mean(matched)),
    }
