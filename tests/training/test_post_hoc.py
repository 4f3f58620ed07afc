"""Averages of any width are reconstructed from snapshots of two, within the stated error of the true ones."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from multidiff.cli.main import app
from multidiff.errors import InputError
from multidiff.training.ema import PowerDecay
from multidiff.training.post_hoc import FOLDER, Snapshots, combination, inner, reconstructed, snapshots
from tests.tiny import tiny_train

WIDTHS = (0.05, 0.1)


def profile(std, updates, length):
    """The weight of each of ``length`` steps in the average after ``updates``: the product of its decays, exactly."""
    ends = (np.arange(length + 1) / updates) ** (PowerDecay(std).gamma + 1)
    return np.where(np.arange(length) < updates, np.diff(ends), 0)


@pytest.mark.parametrize(
    ("std", "error"), [(0.03, 0.02), (0.05, 1e-6), (0.075, 1e-3), (0.1, 1e-6), (0.15, 2e-3), (0.2, 5e-3), (0.25, 0.02)]
)
def test_a_random_walk_has_the_average_of_any_width(std, error):
    """Of 20 snapshots; the error is relative to the distance of the average from the last weights."""
    length, every = 1000, 50
    walk = 3 + np.cumsum(np.random.default_rng(0).normal(size=(length, 200)), 0) / length**0.5
    kept = [(updates, width) for updates in range(every, length + 1, every) for width in WIDTHS]
    exponents = [PowerDecay(width).gamma for _, width in kept]
    factors = combination([updates for updates, _ in kept], exponents, length, PowerDecay(std).gamma)
    averages = np.stack([profile(width, updates, length) @ walk for updates, width in kept])
    true = profile(std, length, length) @ walk
    assert np.linalg.norm(factors @ averages - true) < error * np.linalg.norm(true - walk[-1])
    assert factors.sum() == pytest.approx(1)


def test_the_inner_product_is_the_integral():
    t = (np.arange(100_000) + 0.5) / 100_000 * 3
    one, other = ((p + 1) / end * (t / end) ** p * (t < end) for p, end in ((2.0, 1.5), (5.0, 3.0)))
    numbers = (np.float64(value) for value in (1.5, 2.0, 3.0, 5.0))
    assert inner(*numbers) == pytest.approx((one * other).mean() * 3, rel=1e-4)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Trained twice as long as its first checkpoint: the averages are resumed."""
    run_dir = tmp_path_factory.mktemp("post_hoc") / "run"
    settings = ("callbacks=snapshots", "callbacks.snapshots.every=6", "ema.std=0.08", "loader.batch_size=2")
    tiny_train(run_dir, *settings, "trainer.max_steps=18")
    tiny_train(run_dir, *settings, "trainer.max_steps=36", "resume=true")
    return run_dir


def test_a_run_has_its_own_average_by_reconstruction_too(run, tmp_path):
    """36 steps are few for profiles in continuous time: 5 % of the distance between the two kept averages."""
    kept = snapshots(run)
    assert [(each.updates, each.std) for each in kept] == [(u, s) for u in range(6, 37, 6) for s in WIDTHS]
    narrow, wide = (load_file(each.path) for each in kept[-2:])
    own, made = load_file(run / "model" / "model.safetensors"), reconstructed(kept, 0.08)
    gap = sum((wide[name] - narrow[name]).square().sum() for name in own) ** 0.5
    assert sum((made[name] - own[name]).square().sum() for name in own) ** 0.5 < 0.05 * gap
    result = CliRunner().invoke(app, ["ema", str(run), "--width", "0.1", "--out", str(tmp_path / "model")])
    assert result.exit_code == 0
    written = load_file(tmp_path / "model" / "model.safetensors")
    for name, value in written.items():
        torch.testing.assert_close(value, wide[name], rtol=1e-5, atol=1e-6)


def test_what_cannot_be_used_is_refused(run, tmp_path):
    with pytest.raises(InputError, match=r"two different widths and every >= 1 are needed, got \(0.1, 0.1\)"):
        Snapshots((0.1, 0.1))
    with pytest.raises(InputError, match="snapshots: the relative width must lie between"):
        Snapshots((0.1, 0.3))
    with pytest.raises(InputError, match="keeps no snapshots of its averages: train with callbacks=snapshots"):
        snapshots(tmp_path)
    with pytest.raises(InputError, match="the relative width must lie between"):
        reconstructed(snapshots(run), 0.5)
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "00000001_0.1.safetensors").write_bytes(b"damaged")
    with pytest.raises(InputError, match="is damaged"):
        reconstructed(snapshots(tmp_path), 0.1)
    save_file({"weight": torch.zeros(1)}, tmp_path / FOLDER / "00000001_0.1.safetensors")
    assert reconstructed(snapshots(tmp_path), 0.2)["weight"] == 0
