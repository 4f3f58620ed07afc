import time

from multidiff.data.progress import advancing, progress


def test_a_long_pass_without_a_terminal_tells_how_far_it_is_ever_less_often(monkeypatch, capsys):
    seconds = iter(range(0, 10_000, 5))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(seconds)))
    assert list(progress(range(20), 20, "Encoding {} samples")) == list(range(20))
    assert capsys.readouterr().err.splitlines() == [
        "Encoding 20 samples: 10% in 10 s",
        "Encoding 20 samples: 20% in 20 s",
        "Encoding 20 samples: 40% in 40 s",
        "Encoding 20 samples: 80% in 80 s",
    ]


def test_work_in_parts_is_told_by_what_is_done_and_further_processes_are_silent(monkeypatch, capsys):
    seconds = iter(range(0, 10_000, 15))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(seconds)))
    with advancing(2000, "Evaluating {} samples") as advance, advancing(2000, "twice", silent=True) as silent:
        advance(500)
        silent(500)
    assert capsys.readouterr().err.splitlines() == ["Evaluating 2,000 samples: 25% in 30 s"]


def test_a_short_pass_is_silent(capsys):
    assert list(progress("abc", 3, "Decoding {} files")) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""
