"""The sampler file of `multidiff speedup` is within its difference, and no slower than what was measured beside it."""

import pytest
import torch
import yaml

from multidiff.diffusion.objectives import Trained
from multidiff.errors import InputError
from multidiff.sampling import speedup
from multidiff.sampling.fine_runs import fine_runs
from multidiff.sampling.speedup import Measured, Search, described, fastest

from .short_speedup import shorten


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    shorten(monkeypatch)
    monkeypatch.setattr(speedup, "bfloat16_pays", lambda device: True)


def test_the_file_gives_what_was_measured(pipeline, tmp_path):
    lines = []
    plan = pipeline.plan(3, label=["1", "7"], guidance=2.0)
    found = fastest(plan, 0.3, False, lines.append)
    assert found.difference <= 0.3
    tried = " ".join(lines)
    ways = (
        "as it is",
        "dpmpp_2m",
        "fitted grid",
        "features of 2",
        "guidance in (-1.0, 1.0)",
        "channels last",
        "bfloat16",
    )
    assert all(way in tried for way in ways)
    (tmp_path / "fast.yaml").write_text(yaml.safe_dump(described(found, "fast")))
    again = pipeline.plan(3, label=["1", "7"], guidance=2.0, sampler=str(tmp_path / "fast.yaml"))
    assert again.sampler["steps"] == found.sampler["steps"]
    search = Search(plan, 0.3, lines.append)
    difference = (again.x0(range(3)) - search.reference).square().mean().sqrt() / search.spread
    assert difference.item() == pytest.approx(found.difference, rel=1e-3)


@pytest.mark.slow
def test_it_measures_in_batches(pipeline):
    plans = [pipeline.plan(3, label=["1", "7"], guidance=2.0, batch_size=size) for size in (3, 2)]
    whole, parts = (Search(plan, 0.3, lambda line: None).reference for plan in plans)
    torch.testing.assert_close(parts, whole, atol=1e-4, rtol=1e-4)
    for one, other in zip(*(fine_runs(plan).grid(6).log_snr for plan in plans), strict=True):
        assert one == pytest.approx(other, abs=0.3)  # a neighbour of 64 levels at most


def test_only_what_is_faster_and_near_enough_is_kept(pipeline):
    search = Search(pipeline.plan(2), 0.1, lambda line: None)
    search.best = Measured({"steps": 1}, 0.05, 1.0)
    for difference, seconds, kept in ((0.2, 0.1, False), (0.05, 0.99, False), (0.1, 0.5, True)):
        found = Measured({"steps": 2}, difference, seconds)
        search.keep(found)
        assert (search.best is found) == kept
    search.best = Measured({"steps": 1}, 0.5, 0.1)
    search.keep(found)
    assert search.best is found  # slower, and within the limit


def test_what_cannot_be_sped_up_is_refused(pipeline, monkeypatch):
    with pytest.raises(InputError, match="the difference must be above 0, got 0"):
        fastest(pipeline.plan(1), 0.0, False, print)
    with pytest.raises(InputError, match=r"no sampler is within 1e-12 of the reference in 8 steps: raise --loss"):
        fastest(pipeline.plan(1), 1e-12, False, print)
    monkeypatch.setattr(pipeline, "trained", Trained(("consistency",), 4))
    with pytest.raises(InputError, match="few steps of its own sampler, consistency: sample it with --steps 1 to 4"):
        fastest(pipeline.plan(1, sampler="consistency"), 0.1, False, print)
    assert torch.is_grad_enabled()
