"""Whether samples are what was asked for, as a classifier reads them."""

import torch
from torch import Tensor


def accuracy(read: Tensor, asked: Tensor) -> float:
    """The part of the classes ``read``, ``(N,)``, that equal those ``asked``, ``(N,)``."""
    return float((read == asked).double().mean())


def confusion(read: Tensor, asked: Tensor, classes: int) -> Tensor:
    """How often class a was read as class b: counts in row a and column b, ``(classes, classes)``."""
    return torch.bincount(asked * classes + read, minlength=classes**2).reshape(classes, classes)
