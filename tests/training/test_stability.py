"""Steps whose loss or gradient is not finite are skipped and counted."""

import pytest
import torch

from multidiff.errors import InputError
from multidiff.training.checkpoints import newest_checkpoint
from multidiff.training.stability import Stability
from tests.tiny import tiny_train, weights
from tests.tiny_codec import train_codec


def spoilt(monkeypatch, steps):
    """The gradient is not finite in these of the following steps."""
    clip, calls = Stability.clip, iter(range(1000))

    def spoil(self, parameters, limit):
        parameters = list(parameters)
        if next(calls) in steps:
            parameters[0].grad.fill_(float("inf"))
        return clip(self, parameters, limit)

    monkeypatch.setattr(Stability, "clip", spoil)


def test_a_gradient_that_is_no_number_changes_nothing_and_is_counted(tmp_path, monkeypatch):
    tiny_train(tmp_path / "three", "trainer.max_steps=3", "checkpoint_every=2")
    spoilt(monkeypatch, {2})
    tiny_train(tmp_path / "skipped", "trainer.max_steps=3", "checkpoint_every=2")
    (before, after) = sorted((tmp_path / "skipped" / "checkpoints").glob("step_*.ckpt"))
    states = [torch.load(path, weights_only=True) for path in (before, after)]
    assert all(torch.equal(value, states[1]["state_dict"][name]) for name, value in states[0]["state_dict"].items())
    assert [state["stability"]["skipped"] for state in states] == [0, 1]
    assert [state["global_step"] for state in states] == [2, 3]


def test_too_many_in_a_row_end_training_with_the_last_checkpoint_kept(tmp_path, monkeypatch):
    settings = ("trainer.max_steps=8", "checkpoint_every=2", "stability.patience=3")
    with monkeypatch.context() as patch:
        spoilt(patch, {1, 4, 5, 6})
        with pytest.raises(InputError, match="3 consecutive steps had a non-finite loss or gradient"):
            tiny_train(tmp_path, *settings)
    assert newest_checkpoint(tmp_path / "checkpoints").name == "step_00000006.ckpt"
    assert all(value.isfinite().all() for value in weights(tmp_path).values())
    assert tiny_train(tmp_path, *settings, "resume=true").finished


@pytest.mark.parametrize("training", [tiny_train, train_codec])
def test_a_training_without_a_finite_step_ends_with_an_error_and_without_a_model(tmp_path, monkeypatch, training):
    spoilt(monkeypatch, {0, 1, 2})
    with pytest.raises(InputError, match="no step of 3 had a finite loss and gradient, so nothing was learned"):
        training(tmp_path, "trainer.max_steps=3")
    assert not (tmp_path / "model").exists()


def test_a_training_with_one_finite_step_ends_with_a_model(tmp_path, monkeypatch):
    spoilt(monkeypatch, {0, 2})
    assert tiny_train(tmp_path, "trainer.max_steps=3").finished
