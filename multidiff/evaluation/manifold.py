"""Fidelity and diversity: precision, recall, density and coverage, from balls around the samples of a set."""

import torch
from torch import Tensor

from multidiff.evaluation.neighbours import distances, radii


class Balls:
    """Balls around real samples, ``(M, D)``, whose radii are computed once.

    The radius of a ball is the distance to the ``k``-th nearest neighbour.
    """

    def __init__(self, reference: Tensor):
        self.reference = reference
        self._radii: dict[int, Tensor] = {}

    def precision_recall(self, generated: Tensor, k: int = 3) -> tuple[float, float]:
        """The fraction of ``generated``, ``(N, D)``, near the reference, and the reverse.

        A sample counts if it lies in a ball around any sample of the other set.
        Kynkäänniemi et al. (2019), eq. 1 and 2, https://arxiv.org/abs/1904.06991.
        """
        precision = _holding(generated, self.reference, self.radii(k)) > 0
        recall = _holding(self.reference, generated, radii(generated, k)) > 0
        return float(precision.double().mean()), float(recall.double().mean())

    def density_coverage(self, generated: Tensor, k: int = 5) -> tuple[float, float]:
        """Precision and recall that outliers affect less, since only balls around the reference are used.

        Density is the mean number of balls that contain a generated sample, divided by ``k``: about 1 for equal
        distributions, above 1 where samples concentrate. Coverage is the fraction of balls that contain any.
        Naeem et al. (2020), eq. 3 and 4, https://arxiv.org/abs/2002.09797.
        """
        reach = self.radii(k)
        density = _holding(generated, self.reference, reach).double().mean() / k
        nearest = torch.cat([block.min(dim=1).values for block in distances(self.reference, generated)])
        return float(density), float((nearest <= reach).double().mean())

    def radii(self, k: int) -> Tensor:
        """The radius of each ball, ``(M,)``."""
        if k not in self._radii:
            self._radii[k] = radii(self.reference, k)
        return self._radii[k]


def _holding(x: Tensor, centres: Tensor, reach: Tensor) -> Tensor:
    """For each row of ``x``, the number of balls around ``centres`` that contain it, ``(N,)``."""
    return torch.cat([(block <= reach).sum(dim=1) for block in distances(x, centres)])
