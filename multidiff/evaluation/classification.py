"""Accuracy, confusion and the inception score, from the predictions of a classifier."""

import torch
from torch import Tensor


def accuracy(predicted: Tensor, requested: Tensor) -> float:
    """The fraction of the classes ``predicted``, ``(N,)``, that equal those ``requested``, ``(N,)``."""
    return float((predicted == requested).double().mean())


def confusion(predicted: Tensor, requested: Tensor, classes: int) -> Tensor:
    """How often class a was classified as b: counts in row a and column b, ``(classes, classes)``."""
    return torch.bincount(requested * classes + predicted, minlength=classes**2).reshape(classes, classes)


def inception_score(probabilities: Tensor) -> float:
    """The inception score from class probabilities ``(N, K)``: from 1 to K, higher is better.

    ``exp E KL(p(class | sample) || p(class))`` over all samples at once. It does not depend on real data, whose own
    score belongs beside it. Salimans et al. (2016), section 4, https://arxiv.org/abs/1606.03498.
    """
    rows = probabilities.double()
    uncertainty = torch.special.entr(rows).sum(dim=1).mean()
    return float((torch.special.entr(rows.mean(dim=0)).sum() - uncertainty).exp())
