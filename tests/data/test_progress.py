from types import SimpleNamespace

import pytest

from multidiff.data import progress as module
from multidiff.data.progress import advancing, progress


@pytest.fixture
def slow(monkeypatch):
    """Each look at the clock takes 5 s."""
    seconds = iter(range(0, 10_000, 5))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: float(next(seconds))))


@pytest.fixture(params=["xterm", "dumb"])
def terminal(request, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # which rich takes for a terminal
    monkeypatch.setenv("TERM", request.param)
    return request.param


def test_a_long_pass_without_a_terminal_prints_lines_at_doubling_intervals(slow, capsys):
    assert list(progress(range(20), 20, "Encoding {} samples")) == list(range(20))
    assert capsys.readouterr().err.splitlines() == [
        "Encoding 20 samples: 10% in 10 s",
        "Encoding 20 samples: 20% in 20 s",
        "Encoding 20 samples: 40% in 40 s",
        "Encoding 20 samples: 80% in 80 s",
    ]


def test_a_long_pass_shows_a_bar_on_a_terminal_that_can_move_its_cursor(slow, terminal, capsys):
    assert list(progress(range(20), 20, "Encoding {} samples")) == list(range(20))
    shown = capsys.readouterr().err
    assert "Encoding 20 samples" in shown
    assert ("\x1b[2K" in shown) == (terminal == "xterm")  # the bar is erased


def test_work_in_parts_is_told_by_what_is_done_and_further_processes_are_silent(slow, capsys):
    with advancing(2000, "Evaluating {} samples") as advance, advancing(2000, "twice", silent=True) as silent:
        advance(500)
        silent(500)
    assert capsys.readouterr().err.splitlines() == ["Evaluating 2,000 samples: 25% in 10 s"]


def test_work_that_is_long_has_a_bar_at_once(terminal, capsys):
    with advancing(2, "Sampling {}"):
        pass
    assert ("Sampling 2" in capsys.readouterr().err) == (terminal == "xterm")


def test_a_short_pass_is_silent(capsys):
    assert list(progress("abc", 3, "Decoding {} files")) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("terminal")
def test_a_short_pass_is_silent_on_a_terminal(capsys):
    test_a_short_pass_is_silent(capsys)
