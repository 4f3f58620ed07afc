"""Fidelity and variety apart: how much of one set lies near another, near being within a ball about its samples."""

import torch
from torch import Tensor

from multidiff.evaluation.neighbours import distances, radii


def precision_recall(generated: Tensor, reference: Tensor, k: int = 3) -> tuple[float, float]:
    """How much of ``generated``, ``(N, D)``, looks real, and how much of ``reference``, ``(M, D)``, can be generated.

    A sample counts if it lies within the ball about any sample of the other set that reaches its ``k``-th neighbour.
    Kynkäänniemi et al. (2019), eq. 1 and 2, https://arxiv.org/abs/1904.06991. Both from 0 to 1.
    """
    precision = _holding(generated, reference, radii(reference, k)) > 0
    recall = _holding(reference, generated, radii(generated, k)) > 0
    return float(precision.double().mean()), float(recall.double().mean())


def density_coverage(generated: Tensor, reference: Tensor, k: int = 5) -> tuple[float, float]:
    """The same questions without trust in outliers: only the balls about ``reference`` are used.

    Density is the mean number of balls that hold a generated sample, over ``k``: about 1 for equal distributions, above
    1 where samples crowd in the middle. Coverage, from 0 to 1, is the part of the balls that hold any.
    Naeem et al. (2020), eq. 3 and 4, https://arxiv.org/abs/2002.09797.
    """
    reach = radii(reference, k)
    density = _holding(generated, reference, reach).double().mean() / k
    nearest = torch.cat([block.min(dim=1).values for block in distances(reference, generated)])
    return float(density), float((nearest <= reach).double().mean())


def _holding(x: Tensor, centres: Tensor, reach: Tensor) -> Tensor:
    """For each row of ``x``, how many balls about ``centres`` hold it, ``(N,)``."""
    return torch.cat([(block <= reach).sum(dim=1) for block in distances(x, centres)])
