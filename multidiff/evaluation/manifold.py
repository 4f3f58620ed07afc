"""Fidelity and diversity: precision, recall, density and coverage, from balls around the samples of a set."""

from functools import cached_property

import torch
from torch import Tensor

from multidiff.evaluation.neighbours import distances, neighbour_distances

PRECISION_NEIGHBOUR, DENSITY_NEIGHBOUR = 3, 5
"""Up to which neighbour the balls reach, as in the papers."""


class Balls:
    """Balls around real samples, ``(M, D)``, that reach to a neighbour; the distances to it are computed once."""

    def __init__(self, reference: Tensor):
        self.reference = reference

    @cached_property
    def _reaches(self) -> Tensor:
        return neighbour_distances(self.reference, max(PRECISION_NEIGHBOUR, DENSITY_NEIGHBOUR))

    def precision_recall(self, generated: Tensor) -> tuple[float, float]:
        """The fraction of ``generated``, ``(N, D)``, near the reference, and the reverse.

        A sample counts if it lies in a ball around any sample of the other set.
        Kynkäänniemi et al. (2019), eq. 1 and 2, https://arxiv.org/abs/1904.06991.
        """
        own = neighbour_distances(generated, PRECISION_NEIGHBOUR)[:, -1]
        precision = _holding(generated, self.reference, self._reaches[:, PRECISION_NEIGHBOUR - 1]) > 0
        recall = _holding(self.reference, generated, own) > 0
        return float(precision.double().mean()), float(recall.double().mean())

    def density_coverage(self, generated: Tensor) -> tuple[float, float]:
        """Precision and recall that outliers affect less, since only balls around the reference are used.

        Density is the mean number of balls that contain a generated sample, divided by `DENSITY_NEIGHBOUR`: about 1
        for equal distributions, above 1 where samples concentrate. Coverage is the fraction of balls that contain
        any. Naeem et al. (2020), eq. 3 and 4, https://arxiv.org/abs/2002.09797.
        """
        reach = self._reaches[:, DENSITY_NEIGHBOUR - 1]
        density = _holding(generated, self.reference, reach).double().mean() / DENSITY_NEIGHBOUR
        nearest = torch.cat([block.min(dim=1).values for block in distances(self.reference, generated)])
        return float(density), float((nearest <= reach).double().mean())


def _holding(x: Tensor, centres: Tensor, reach: Tensor) -> Tensor:
    """For each row of ``x``, the number of balls around ``centres`` that contain it, ``(N,)``."""
    return torch.cat([(block <= reach).sum(dim=1) for block in distances(x, centres)])
