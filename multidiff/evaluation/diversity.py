"""The Vendi score of diversity."""

import torch
import torch.nn.functional as F
from torch import Tensor

from multidiff.evaluation.blocks import blocks


def vendi_score(features: Tensor) -> float:
    """The effective number of different samples among ``features``, ``(N, D)``: from 1, all alike, to N.

    The exponential of the entropy of the eigenvalues of K / N, K being the cosines between samples. Their non-zero
    values are those of the small matrix ``X^T X / N``, so the score never exceeds D.
    Friedman and Dieng (2022), definition 3.1, https://arxiv.org/abs/2210.02410.
    """
    directions = (F.normalize(block, dim=1) for block in blocks([features]))
    products = sum((unit.T @ unit for unit in directions), start=torch.zeros((), dtype=torch.float64))
    eigenvalues = torch.linalg.eigvalsh(products / len(features)).clamp(min=0)
    return float(torch.special.entr(eigenvalues).sum().exp())
