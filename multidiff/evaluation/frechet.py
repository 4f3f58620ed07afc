"""The Fréchet distance between two Gaussians that are fitted to features, and its value for infinitely many samples.

Heusel et al. (2017), https://arxiv.org/abs/1706.08500; the extrapolation: Chong and Forsyth (2020),
https://arxiv.org/abs/1911.07023.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from multidiff.evaluation.blocks import blocks

POINTS = 15
"""Sample counts that the line of the extrapolation is fitted to."""


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of features.

    Attributes:
        count: of the samples.
        mean: ``(D,)`` in float64.
        covariance: ``(D, D)`` in float64, unbiased.
    """

    count: int
    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, batches: Iterable[Tensor]) -> "Moments":
        """The moments of all rows of ``batches``, each ``(B, D)``; the sizes of the batches change no digit.

        Raises:
            ValueError: there are fewer than two rows.
        """
        count, shift, total, products = 0, torch.empty(0), torch.empty(0), torch.empty(0)
        for block in blocks(batches):
            if not count:
                shift = block[0].clone()  # deviations from a sample lose fewer digits than raw values
                total, products = torch.zeros_like(shift), torch.zeros(len(shift), len(shift), dtype=shift.dtype)
            centred = block - shift
            count += len(block)
            total = total + centred.sum(dim=0)
            products = products + centred.T @ centred
        if count < 2:
            raise ValueError(f"a covariance needs at least 2 samples, got {count}")
        covariance = (products - total[:, None] * total / count) / (count - 1)
        return cls(count, shift + total / count, covariance)


class FrechetDistance:
    """The Fréchet distance of other moments to those of ``reference``.

    ``|m - m'|^2 + tr(C + C' - 2 (C^1/2 C' C^1/2)^1/2)``, symmetric, and 0 only for equal moments.
    """

    def __init__(self, reference: Moments):
        self.reference = reference
        self._root = _root(reference.covariance)

    def __call__(self, other: Moments) -> float:
        shift = (other.mean - self.reference.mean).square().sum()
        eigenvalues = torch.linalg.eigvalsh(self._root @ other.covariance @ self._root)
        spread = torch.trace(other.covariance) + torch.trace(self.reference.covariance)
        return float(shift + spread - 2 * eigenvalues.clamp(min=0).sqrt().sum())

    def of_samples(self, features: Tensor) -> float:
        """The distance of the moments of ``features``, ``(N, D)``, without their covariance if N is below D.

        With N centred rows X, ``C' = X^T X / (N - 1)``, and the root of ``C^1/2 C' C^1/2`` has as its trace the sum of
        the singular values of ``X C^1/2 / (N - 1)^1/2``, which has N rows.

        Raises:
            ValueError: there are fewer than two samples.
        """
        n, dimensions = features.shape
        if n >= dimensions or n < 2:
            return self(Moments.of([features]))
        mean = features.double().mean(dim=0)
        rows = (features.double() - mean) / (n - 1) ** 0.5
        shift = (mean - self.reference.mean).square().sum()
        spread = rows.square().sum() + torch.trace(self.reference.covariance)
        return float(shift + spread - 2 * torch.linalg.svdvals(rows @ self._root).sum())

    def extrapolated(self, features: Tensor, seed: int = 0) -> float:
        """The distance extrapolated to infinitely many samples like ``features``, ``(N, D)``.

        The distance of N samples exceeds it by about a constant over N, since few samples give a rough covariance.
        A line in 1/N is fitted to seeded subsets of N/10 to N samples; its value at 0 is the result. The reference is
        not extrapolated.
        """
        n, dimensions = features.shape
        smallest = max(n // 10, min(2 * dimensions, n // 2), 2)
        generator = torch.Generator().manual_seed(seed)
        counts = torch.linspace(smallest, n, POINTS).round().int().tolist()
        distances = [self.of_samples(features[torch.randperm(n, generator=generator)[:count]]) for count in counts]
        inverse = torch.tensor(counts, dtype=torch.float64).reciprocal()
        line = torch.stack([torch.ones_like(inverse), inverse], dim=1)
        return float(torch.linalg.lstsq(line, torch.tensor(distances, dtype=torch.float64)[:, None]).solution[0])


def _root(covariance: Tensor) -> Tensor:
    """The symmetric square root of a positive semi-definite matrix."""
    eigenvalues, vectors = torch.linalg.eigh(covariance)
    return (vectors * eigenvalues.clamp(min=0).sqrt()) @ vectors.T
