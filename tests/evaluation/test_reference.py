import numpy as np
import pytest

from modalities.image.data import Digits
from modalities.image.modality import ImageModality
from multidiff.conditioners import Conditioner, LabelConditioner, NumberConditioner
from multidiff.data.dataset import UnreadableError
from multidiff.evaluation.reference import Reference

GRAY = ImageModality(1)


class Damaged(Digits):
    """Digits of which one in four cannot be read."""

    def data(self, index, random):
        if index % 4 == 0:
            raise UnreadableError(f"digit {index} is damaged")
        return super().data(index, random)


def test_the_next_sample_of_its_part_replaces_an_unreadable_one():
    whole, damaged = (Reference(GRAY, kind(GRAY), holdout=0.1, seed=0) for kind in (Digits, Damaged))
    for part in (damaged.training, damaged.held_out):
        readable = [index for index in part if index % 4]
        place = next(i for i, index in enumerate(part[:-1]) if index % 4 == 0 and part[i + 1] % 4)
        assert np.array_equal(damaged.artifact(part[place]), whole.artifact(part[place + 1]))
        assert np.array_equal(damaged.artifact(readable[0]), whole.artifact(readable[0]))


def test_fields_are_distributed_as_in_the_training_data():
    reference = Reference(GRAY, Digits(GRAY), holdout=0.1, seed=0)
    conditioner = Conditioner({"label": LabelConditioner("label", list("0123456789"), dim=2)})
    requested = [fields["label"] for fields in reference.conditions(len(reference.training), conditioner)]
    assert sorted(requested) == sorted(reference.label(i) for i in reference.training)


@pytest.mark.parametrize("n", [1, 7])
def test_labels_that_the_data_lack_are_taken_in_turn_and_other_fields_are_left_out(n):
    dataset = Digits(GRAY)
    dataset.fields = {}
    parts = {"label": LabelConditioner("label", ["a", "b"], dim=2), "seconds": NumberConditioner("seconds", 0, 1)}
    requested = Reference(GRAY, dataset, holdout=0.1, seed=0).conditions(n, Conditioner(parts))
    assert requested == [{"label": "ab"[i % 2]} for i in range(n)]
