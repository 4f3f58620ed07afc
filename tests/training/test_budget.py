"""Training for a given time."""

from functools import partial

import pytest
from PIL import Image

from multidiff.errors import InputError
from multidiff.studio.runs import Run as Followed
from multidiff.training import callbacks
from multidiff.training.budget import seconds_of
from multidiff.training.module import DiffusionModule
from multidiff.training.progress import duration
from multidiff.training.run import Run
from tests.tiny import tiny_train


class Clock:
    """A clock that only work advances: each step by a second, other work by as many as are set."""

    def __init__(self):
        self.now = 0.0
        self.costs = {"step": 1.0, "preview": 0.0, "validation": 0.0}

    def working(self, kind, function):
        def timed(*arguments):
            self.now += self.costs[kind]
            return function(*arguments)

        return timed


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(callbacks, "clock", lambda: clock.now)
    monkeypatch.setattr(DiffusionModule, "training_step", clock.working("step", DiffusionModule.training_step))
    monkeypatch.setattr(
        DiffusionModule, "validation_step", clock.working("validation", DiffusionModule.validation_step)
    )
    monkeypatch.setattr(Run, "previewer", lambda run, count: clock.working("preview", partial(Image.new, "L", (8, 8))))
    return clock


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
    result = tiny_train(tmp_path / "run", "budget=15s", "trainer.max_steps=7", "loader.validated=8")
    assert (result.finished, result.steps) == (True, 15)


INTERVALS = ("trainer.val_check_interval=500", "callbacks.previews.every=500")


@pytest.mark.slow
def test_what_is_too_long_for_the_budget_is_shortened(tmp_path, clock):
    assert tiny_train(tmp_path / "run", "budget=40s", "loader.validated=8", *INTERVALS).steps == 40
    assert len(list((tmp_path / "run/previews").glob("*.png"))) == 8
    assert len(list((tmp_path / "run/checkpoints").glob("step_*.ckpt"))) == 2
    assert (tmp_path / "run/lowest_loss").exists()  # after a validation


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["preview", "validation"])
def test_work_beside_training_takes_a_twentieth_of_a_budget_after_the_first_time(tmp_path, clock, kind):
    clock.costs[kind] = 4.0
    result = tiny_train(tmp_path / "run", "budget=100s", "loader.validated=8", *INTERVALS)
    beside = clock.now - result.steps
    assert 4 <= beside <= 4 + 100 / 20
    assert clock.now <= 105


def test_a_budget_in_which_there_is_no_time_for_a_validation_is_refused(tmp_path, clock):
    clock.costs["validation"] = 25.0
    with pytest.raises(InputError, match=r"budget=40s is too short: a validation takes 25 s; lower loader\.validated"):
        tiny_train(tmp_path / "run", "budget=40s", "loader.validated=8", *INTERVALS)


def test_the_page_of_a_run_knows_its_length_and_its_end(tmp_path, clock):
    tiny_train(tmp_path / "run", "budget=12s", "loader.validated=8")
    run = Followed.read(tmp_path / "run")
    assert (run.step, run.steps, run.left, run.is_done) == (12, 12, 0.0, True)


@pytest.mark.slow
def test_a_resume_continues_under_the_same_budget(tmp_path, clock):
    first = tiny_train(tmp_path / "run", "budget=60s")
    again = tiny_train(tmp_path / "run", "resume=true")
    assert again.finished
    assert again.steps == first.steps
    more = tiny_train(tmp_path / "run", "budget=90s", "resume=true")
    assert more.steps == 90


def test_a_budget_that_is_over_at_once_is_refused(tmp_path, clock):
    with pytest.raises(InputError, match="budget=5s is too short: 10 steps take about 10 s"):
        tiny_train(tmp_path / "run", "budget=5s")
