"""Two data sets as one, mixed in a given share."""

import hashlib
from fractions import Fraction

import numpy as np
from torch import Tensor

from multidiff.data.dataset import Dataset
from multidiff.errors import InputError

FINEST = 100
"""Highest denominator of the ratio in which samples come."""


class Joined(Dataset):
    """The samples of two data sets, of which each epoch repeats some so that the second has its share.

    Both have captions; other fields are left out.

    Args:
        first: comes first in the numbers of the samples.
        second: of the same usual shape.
        share: of the second among the samples of an epoch, above 0 and below 1.

    Raises:
        InputError: another share.
    """

    def __init__(self, first: Dataset, second: Dataset, share: float):
        if not 0 < share < 1:
            raise InputError(f"prior.share is above 0 and below 1, got {share}")
        self.first, self.second = first, second
        self.shape = first.shape
        self.fields = {"caption": [*first.fields["caption"], *second.fields["caption"]]}
        self.origin = hashlib.sha256(f"{first.content} {second.content}".encode()).hexdigest()
        if first.shapes is not None and second.shapes is not None:
            self.shapes = np.concatenate([first.shapes, second.shapes])
        ratio = Fraction(share / (1 - share) * len(first) / len(second)).limit_denominator(FINEST)
        times = [ratio.denominator] * len(first) + [max(1, ratio.numerator)] * len(second)
        self.repeats = np.array(times)

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def data(self, index: int, random: np.random.Generator) -> Tensor:
        dataset, own = self._at(index)
        return dataset.data(own, random)

    def name(self, index: int) -> str:
        dataset, own = self._at(index)
        return dataset.name(own)

    def _at(self, index: int) -> tuple[Dataset, int]:
        return (self.first, index) if index < len(self.first) else (self.second, index - len(self.first))
