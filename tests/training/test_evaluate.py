"""Scores while training: logged, the best model kept, and training itself untouched."""

import csv
import math

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import multidiff
from multidiff.errors import InputError
from multidiff.evaluation import QUICK
from multidiff.sampling.model_directory import read_config
from multidiff.sampling.plan import Plan
from multidiff.training.evaluate import Evaluate
from tests.tiny import tiny_train

EVALUATED = (
    "callbacks=evaluation",
    "callbacks.previews.every=0",
    "callbacks.evaluation.every=2",
    "callbacks.evaluation.samples=32",
    "callbacks.evaluation.steps=2",
    "callbacks.evaluation.features='encoder steps=5'",
)


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    """One for all, so that the encoder is trained once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MULTIDIFF_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def scores_of(run_dir, name="frechet_distance"):
    """The score at each step that has one, as the CSV logger wrote it."""
    rows = csv.DictReader((run_dir / "logs" / "csv" / "metrics.csv").open())
    return {int(row["step"]): float(row[f"evaluation/{name}"]) for row in rows if row.get(f"evaluation/{name}")}


def test_scores_are_logged_and_the_best_model_is_kept(tmp_path):
    tiny_train(tmp_path / "run", "trainer.max_steps=5", "optimizer.lr=1e-2", "warmup_steps=0", *EVALUATED)
    scores = scores_of(tmp_path / "run")
    assert set(scores) == {2, 4, 5}
    facts = read_config(tmp_path / "run" / "best")["training"]
    assert facts["frechet_distance"] == min(scores.values())
    assert scores[facts["steps"]] == min(scores.values())
    assert len(multidiff.load(tmp_path / "run" / "best").sample(1, steps=2)) == 1
    events = EventAccumulator(str(tmp_path / "run" / "logs" / "tensorboard")).Reload()
    assert {f"evaluation/{name}" for name in QUICK} <= set(events.Tags()["scalars"])


@pytest.mark.slow
def test_training_does_not_change(tmp_path):
    settings = ("trainer.max_steps=3", "callbacks.evaluation.score=recall")
    tiny_train(tmp_path / "with", *EVALUATED, *settings)
    tiny_train(tmp_path / "without", settings[0])
    weights = [(tmp_path / run / "model" / "model.safetensors").read_bytes() for run in ("with", "without")]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_the_best_is_kept_over_a_resume(tmp_path):
    """The same scores and the same best model as in one go."""
    tiny_train(tmp_path / "whole", "trainer.max_steps=4", *EVALUATED)
    tiny_train(tmp_path / "halves", "trainer.max_steps=2", *EVALUATED)
    tiny_train(tmp_path / "halves", "trainer.max_steps=4", "resume=true", *EVALUATED)
    assert scores_of(tmp_path / "halves")[4] == scores_of(tmp_path / "whole")[4]
    best = [(tmp_path / run / "best" / "model.safetensors").read_bytes() for run in ("whole", "halves")]
    assert best[0] == best[1]


def test_samples_that_overflow_do_not_end_training(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(Plan, "x0", lambda self, rows, **_: torch.full((len(rows), 1, 8, 8), math.nan))
    tiny_train(tmp_path / "run", "trainer.max_steps=2", *EVALUATED)
    assert "step 2 is not scored: samples 0 to 31 of the model are not finite" in caplog.text
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
    assert not (tmp_path / "run" / "best").exists()


@pytest.mark.parametrize(
    ("settings", "saying"),
    [
        ({"every": 0}, "every must be at least 1, got 0"),
        ({"score": "beauty"}, "score is one of frechet_distance, .* not 'beauty'"),
        ({"samples": 3}, "at least 20 samples, got 3"),
    ],
)
def test_wrong_settings_are_refused(settings, saying):
    with pytest.raises(InputError, match=saying):
        Evaluate(**settings)


def test_missing_weights_are_known_before_training(tmp_path):
    with pytest.raises(InputError, match="put https://"):
        tiny_train(tmp_path / "run", *EVALUATED, "callbacks.evaluation.features=inception")
    assert not (tmp_path / "run").exists()
