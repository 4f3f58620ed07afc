"""What benchmarks of trainings share: the settings of a contender, and the scores of an evaluation."""

from types import SimpleNamespace

import pytest
import torch
from contest import Ours
from recipe import figures

from modalities.image.modality import ImageModality


def test_a_contender_whose_batches_are_left_open_trains():
    contest = SimpleNamespace(shape=(3, 8, 8), images=range(100), modality=ImageModality(3))
    small = ["backbone.widths=[8,8]", "backbone.head_size=8", "optimizer=adamw"]
    ours = Ours(contest, ["experiment=image/folder", *small], 2, 0)
    assert ours.batch_size == 16
    ours.step(torch.zeros(16, 3, 8, 8), torch.zeros(16, dtype=torch.long), 0.5)
    assert ours.sample(2, 0).shape == (2, 3, 8, 8)


@pytest.mark.parametrize("sets", [False, True])
def test_the_figures_of_an_evaluation_have_its_sets_and_copies(sets):
    def score(value):
        return SimpleNamespace(value=value, floor=value / 2)

    evaluation = SimpleNamespace(
        scores={"recall": score(0.8)},
        sets=SimpleNamespace(together={"1nna_chamfer": score(0.6)}) if sets else None,
        memorisation=SimpleNamespace(nearer=0.7),
    )
    own = {"set 1nna_chamfer": 0.6} if sets else {}
    values, floors = figures(evaluation)
    assert values == {"recall": 0.8, "nearer_to_training": 0.7} | own
    assert floors == {"recall": 0.4, "nearer_to_training": 0.5} | dict.fromkeys(own, 0.3)
