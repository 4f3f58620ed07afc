"""Whether samples are what was asked for, and whether they are anything at all, as a classifier reads them."""

import torch
from torch import Tensor


def accuracy(read: Tensor, asked: Tensor) -> float:
    """The part of the classes ``read``, ``(N,)``, that equal those ``asked``, ``(N,)``."""
    return float((read == asked).double().mean())


def confusion(read: Tensor, asked: Tensor, classes: int) -> Tensor:
    """How often class a was read as class b: counts in row a and column b, ``(classes, classes)``."""
    return torch.bincount(asked * classes + read, minlength=classes**2).reshape(classes, classes)


def inception_score(probabilities: Tensor) -> float:
    """How sure a classifier is of each sample and how even over all, from ``(N, K)``: from 1 to K, the more the better.

    ``exp E KL(p(class | sample) || p(class))`` over all samples at once. It knows no real data, whose own score belongs
    beside it. Salimans et al. (2016), section 4, https://arxiv.org/abs/1606.03498.
    """
    rows = probabilities.double()
    uncertainty = torch.special.entr(rows).sum(dim=1).mean()
    return float((torch.special.entr(rows.mean(dim=0)).sum() - uncertainty).exp())
