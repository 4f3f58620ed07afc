"""Training for a given time."""

import itertools

import pytest

from multidiff.errors import InputError
from multidiff.training import budget
from multidiff.training.budget import seconds_of
from multidiff.training.progress import duration
from tests.tiny import tiny_train


@pytest.fixture
def clock(monkeypatch):
    """A clock that advances by a second whenever the budget reads it, once a step or a little more often."""
    seconds = itertools.count()
    monkeypatch.setattr(budget, "clock", lambda: float(next(seconds)))


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("1.5h", 5400), ("2d", 172800), ("overnight", 28800)]
)
def test_a_budget_is_a_time(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["30", "m", "0s", "366d", "-1h", "1 hour", "nan", 3, True, "1e3s"])
def test_other_budgets_are_refused(text):
    with pytest.raises(InputError, match="budget is a time such as 90s"):
        seconds_of(text)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.25, "0.25 s"), (90, "90 s"), (1800, "30 min"), (9000, "2.5 h"), (172800, "2 d")]
)
def test_durations_are_readable(seconds, said):
    assert duration(seconds) == said


def test_training_ends_with_its_budget(tmp_path, clock):
    result = tiny_train(tmp_path / "run", "budget=60s", "trainer.max_steps=7")
    assert result.finished
    assert 40 <= result.steps <= 62


def test_what_is_too_long_for_the_budget_is_shortened(tmp_path, clock):
    overrides = ["trainer.val_check_interval=500", "callbacks.previews.every=500", "callbacks.previews.count=1"]
    result = tiny_train(tmp_path / "run", "budget=40s", "sampler.steps=1", *overrides)
    assert result.finished
    assert len(list((tmp_path / "run/previews").glob("*.png"))) >= 5
    assert len(list((tmp_path / "run/checkpoints").glob("step_*.ckpt"))) == 2
    assert (tmp_path / "run/checkpoints/best.ckpt").exists()  # after a validation


@pytest.mark.slow
def test_a_resume_continues_under_the_same_budget(tmp_path, clock):
    first = tiny_train(tmp_path / "run", "budget=60s")
    again = tiny_train(tmp_path / "run", "budget=60s", "resume=true")
    assert again.finished
    assert again.steps == first.steps
    more = tiny_train(tmp_path / "run", "budget=90s", "resume=true")
    assert 20 <= more.steps - first.steps <= 32


def test_a_budget_that_is_over_at_once_is_refused(tmp_path, clock):
    with pytest.raises(InputError, match=r"budget=5s is over after \d steps: 10 take about 1\d s"):
        tiny_train(tmp_path / "run", "budget=5s")
