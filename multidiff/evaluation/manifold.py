"""Fidelity and diversity: precision, recall, density and coverage, from balls around the samples of a set."""

import torch
from torch import Tensor

from multidiff.evaluation.neighbours import distances, radii


def precision_recall(generated: Tensor, reference: Tensor, k: int = 3) -> tuple[float, float]:
    """The fraction of ``generated``, ``(N, D)``, near ``reference``, ``(M, D)``, and the reverse.

    A sample counts if it lies in a ball around any sample of the other set. The radius of a ball is the distance to the
    ``k``-th nearest neighbour. Kynkäänniemi et al. (2019), eq. 1 and 2, https://arxiv.org/abs/1904.06991.
    """
    precision = _holding(generated, reference, radii(reference, k)) > 0
    recall = _holding(reference, generated, radii(generated, k)) > 0
    return float(precision.double().mean()), float(recall.double().mean())


def density_coverage(generated: Tensor, reference: Tensor, k: int = 5) -> tuple[float, float]:
    """Precision and recall that outliers affect less, since only balls around ``reference`` are used.

    Density is the mean number of balls that contain a generated sample, divided by ``k``: about 1 for equal
    distributions, above 1 where samples concentrate. Coverage is the fraction of balls that contain any.
    Naeem et al. (2020), eq. 3 and 4, https://arxiv.org/abs/2002.09797.
    """
    reach = radii(reference, k)
    density = _holding(generated, reference, reach).double().mean() / k
    nearest = torch.cat([block.min(dim=1).values for block in distances(reference, generated)])
    return float(density), float((nearest <= reach).double().mean())


def _holding(x: Tensor, centres: Tensor, reach: Tensor) -> Tensor:
    """For each row of ``x``, the number of balls around ``centres`` that contain it, ``(N,)``."""
    return torch.cat([(block <= reach).sum(dim=1) for block in distances(x, centres)])
