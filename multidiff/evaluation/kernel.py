"""The kernel distance: an unbiased estimate of the squared maximum mean discrepancy, with its standard error.

Gretton et al. (2012), lemma 6, https://jmlr.org/papers/v13/gretton12a.html.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

Kernel = Callable[[Tensor, Tensor], Tensor]
"""From rows ``(N, D)`` and ``(M, D)`` to similarities ``(N, M)``; symmetric."""

SUBSETS = 10
_ROWS = 1024


def polynomial(x: Tensor, y: Tensor) -> Tensor:
    """``(x y / D + 1)^3``, the kernel of KID. Binkowski et al. (2018), https://arxiv.org/abs/1801.01401."""
    return (x @ y.T).div_(x.shape[1]).add_(1).pow_(3)


@dataclass(frozen=True)
class Gaussian:
    """``exp(-|x - y|^2 / (2 width^2))``, the kernel of CMMD. Jayasumana et al. (2024), https://arxiv.org/abs/2401.09603.

    Args:
        width: CMMD takes 10 on CLIP's features.
    """

    width: float

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.cdist(x, y).square_().div_(-2 * self.width**2).exp_()


def median_distance(features: Tensor, seed: int = 0) -> float:
    """The median distance between ``features``, ``(N, D)``, the usual width; from at most 1024 of them."""
    chosen = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))[:_ROWS]
    return float(torch.pdist(features[chosen].double()).median())


@dataclass(frozen=True)
class Estimate:
    """A value and its standard error."""

    value: float
    error: float


class KernelDistance:
    """The kernel distance from a set of real samples, ``(M, D)``, whose own part is computed once."""

    def __init__(self, reference: Tensor, kernel: Kernel):
        self.reference, self.kernel = reference.double(), kernel

    def __call__(self, x: Tensor, seed: int = 0) -> Estimate:
        """The distance between the distributions of ``x``, ``(N, D)``, and the reference, from all samples.

        It is 0 on average where the distributions are equal, so it can be negative. The error is that of the mean over
        `SUBSETS` disjoint seeded subsets, which is larger than that of the value itself, as its subsets are smaller.

        Raises:
            ValueError: there are fewer than two samples for each subset.
        """
        x, y = x.double(), self.reference
        if min(len(x), len(y)) < 2 * SUBSETS:
            raise ValueError(f"a kernel distance needs at least {2 * SUBSETS} samples, got {min(len(x), len(y))}")
        generator = torch.Generator().manual_seed(seed)
        xs, ys = (rows[torch.randperm(len(rows), generator=generator)].tensor_split(SUBSETS) for rows in (x, y))
        parts = torch.tensor([unbiased(a, b, self.kernel) for a, b in zip(xs, ys, strict=True)], dtype=torch.float64)
        value = _within(x, self.kernel) + self._own - 2 * _between(x, y, self.kernel)
        return Estimate(value, float(parts.std() / SUBSETS**0.5))

    @cached_property
    def _own(self) -> float:
        return _within(self.reference, self.kernel)


def unbiased(x: Tensor, y: Tensor, kernel: Kernel) -> float:
    """``E k(x, x') + E k(y, y') - 2 E k(x, y)`` over pairs of different samples."""
    return _within(x, kernel) + _within(y, kernel) - 2 * _between(x, y, kernel)


def _within(x: Tensor, kernel: Kernel) -> float:
    total = 0.0
    for start in range(0, len(x), _ROWS):
        rows, later = x[start : start + _ROWS], x[start + _ROWS :]
        similarities = kernel(rows, rows)
        total += float(similarities.sum() - similarities.diagonal().sum() + 2 * kernel(rows, later).sum())
    return total / (len(x) * (len(x) - 1))


def _between(x: Tensor, y: Tensor, kernel: Kernel) -> float:
    return sum(float(kernel(x[start : start + _ROWS], y).sum()) for start in range(0, len(x), _ROWS)) / len(x) / len(y)
