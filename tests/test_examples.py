"""The examples run: a network of one's own, a sampler of one's own, and a plug-in, installed from outside."""

import json
import math
import os
import runpy
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import torch

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_the_toy_learns_its_two_moons():
    """Samples lie nearer to the data than the gap between the moons, after a tenth of the training."""
    toy = runpy.run_path(str(EXAMPLES / "toy.py"))
    samples, data = toy["main"](steps=200), toy["moons"](2000, torch.Generator().manual_seed(2))
    assert torch.cdist(samples, data).amin(dim=1).median() < 0.1
    assert torch.cdist(data, samples).amin(dim=1).median() < 0.1
    assert len((EXAMPLES / "toy.py").read_text().splitlines()) <= 60


@pytest.mark.slow
def test_the_sampler_has_the_order_that_it_states():
    example = runpy.run_path(str(EXAMPLES / "sampler.py"))
    coarse, fine = example["errors"]((40, 80))
    assert abs(math.log2(coarse / fine) - example["Ralston"].order) < 0.1


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The plug-in, built and installed into a fresh folder beside this environment's packages."""
    target = tmp_path_factory.mktemp("target")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target / "wheel")]
    subprocess.run(build, cwd=EXAMPLES / "plugin_timeseries", check=True, capture_output=True)
    (wheel,) = (target / "wheel").glob("*.whl")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "-t", str(target / "site")]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    paths = [str(target / "site"), str(EXAMPLES.parent), sysconfig.get_path("purelib")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "MULTIDIFF_CACHE": str(target / "cache")}


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    for i in range(60):
        time = np.arange(80) / 8
        np.savetxt(folder / f"{i}.csv", 5 + 3 * np.sin(time + i), header="temperature", comments="")
    return folder


@pytest.mark.slow
def test_the_plug_in_trains_samples_evaluates_and_reproduces(environment, series, tmp_path):
    def multidiff(*arguments):
        command = [sys.executable, "-m", "multidiff.cli.main", *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    data = [f"data.root={series}", "data.length=32"]
    multidiff(
        "train", "experiment=timeseries/folder", *data, "run_dir=run", "trainer.max_steps=60", "trainer.accelerator=cpu"
    )
    multidiff("sample", "run", "-n", "24", "--steps", "10", "--out", "out")
    record = json.loads((tmp_path / "out/samples.json").read_text())
    assert record["modality"]["_target_"] == "multidiff_timeseries.SeriesModality"
    values = np.loadtxt(tmp_path / "out/00000.csv", skiprows=1)
    assert values.shape == (32,)
    assert "equal" in multidiff("reproduce", "out/00000.csv")
    scores = multidiff("evaluate", "run", "--data", series, "--samples", "24", "--steps", "4", "--holdout", "0.4")
    assert "spectrum" in scores
    # a model is not loaded where its plug-in is missing
    done = subprocess.run(
        [sys.executable, "-m", "multidiff.cli.main", "sample", "run", "--out", "x"],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": os.pathsep.join(environment["PYTHONPATH"].split(os.pathsep)[1:])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "multidiff_timeseries" in done.stderr
