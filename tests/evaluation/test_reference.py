import numpy as np

from modalities.image.data import Digits
from modalities.image.modality import ImageModality
from multidiff.data.dataset import UnreadableError
from multidiff.evaluation.reference import Reference

GRAY = ImageModality(1)


class Damaged(Digits):
    """Digits of which one in four cannot be read."""

    def x0(self, index, random):
        if index % 4 == 0:
            raise UnreadableError(f"digit {index} is damaged")
        return super().x0(index, random)


def test_what_cannot_be_read_gives_way_to_the_next_of_its_part():
    whole, damaged = (Reference(GRAY, kind(GRAY), holdout=0.1, seed=0) for kind in (Digits, Damaged))
    for part in (damaged.training, damaged.held_out):
        readable = [index for index in part if index % 4]
        place = next(i for i, index in enumerate(part[:-1]) if index % 4 == 0 and part[i + 1] % 4)
        assert np.array_equal(damaged.artifact(part[place]), whole.artifact(part[place + 1]))
        assert np.array_equal(damaged.artifact(readable[0]), whole.artifact(readable[0]))
