"""The list of samplers, and the grid that is fitted to a model."""

import json
import shlex

import pytest
import yaml

from multidiff.configuration import advice, group_options, instantiate
from multidiff.diffusion import optimized_grid
from multidiff.diffusion.grids import Grid
from multidiff.diffusion.samplers import Sampler
from multidiff.diffusion.schedules import Cosine
from tests.cli.command import multidiff, refused
from tests.tiny import TINY, tiny_train


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("grid") / "run"
    tiny_train(run_dir, "trainer.max_steps=1")
    return run_dir


def test_samplers_are_listed_with_what_they_are(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    rows = {line.split()[0]: line.split() for line in multidiff("samplers", cwd=tmp_path).stdout.splitlines() if line}
    for name in group_options("sampler"):
        assert name in rows
        assert advice("sampler", name), f"{name}.yaml does not say when to use it"
    assert rows["heun"][1:5] == ["2", "2", "18", "no"]
    assert rows["dpmpp_3m_sde"][1] == "2", "of a stochastic one, the order of the law"
    assert rows["ddpm"][1:5] == ["1", "1", "250", "yes"]


@pytest.fixture
def _few_candidates(monkeypatch):
    monkeypatch.setattr(optimized_grid, "CANDIDATES", 16)


@pytest.mark.usefixtures("_few_candidates")
def test_a_fitted_grid_is_a_sampler_config(run_dir, tmp_path):
    printed = yaml.safe_load(multidiff("grid", run_dir, "--steps", 5, "-n", 2, "--label", 3, cwd=tmp_path).stdout)
    assert (printed["name"], printed["steps"]) == ("dpmpp_2m_5", 5)
    assert len(instantiate(Grid, printed["grid"])(Cosine(), 5)) == 6
    assert not list(tmp_path.iterdir())
    done = multidiff("grid", run_dir, "--steps", 5, "-n", 2, "--out", "mine/sampler/quick.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    sampled = multidiff(
        "sample", run_dir, "-n", 1, "--sampler", "mine/sampler/quick.yaml", "--out", "out", cwd=tmp_path
    )
    assert sampled.returncode == 0, sampled.stderr
    assert json.loads((tmp_path / "out" / "samples.json").read_text())["sampler"]["name"] == "quick"
    shown = multidiff("train", "--config-dir", "mine", *TINY, "sampler=quick", "--cfg", "job", cwd=tmp_path)
    config = yaml.safe_load(shown.stdout)["sampler"]
    assert (config["name"], len(config["grid"]["log_snr"])) == ("quick", 5)
    instantiate(Sampler, config["method"], schedule=Cosine())


@pytest.mark.usefixtures("_few_candidates")
def test_a_fitted_grid_says_how_it_was_made(run_dir, tmp_path):
    asked = ("--label", "3", "--label", "5", "--seed", "7", "--guidance", "3.0", "--guidance-rule", "apg")
    asked += ("--sampler", "unipc_3", "--batch-size", "1")
    command = ["multidiff", "grid", str(run_dir), "-n", "2", "--steps", "5", *asked, "--negative", "1"]
    guided = multidiff(*command[1:], cwd=tmp_path).stdout
    words = shlex.split(guided.splitlines()[0].removeprefix("# Made by: "))
    assert sorted(words) == sorted(command)
    assert yaml.safe_load(guided)["method"]["_target_"].endswith("UniPC")
    assert multidiff(*words[1:], cwd=tmp_path).stdout == guided


@pytest.mark.parametrize(
    ("arguments", "saying"),
    [
        (["--steps", 0], "1 to 64 steps, got 0"),
        (["--seed", 2**64], "64 bits"),
        (["-n", 0], "at least 1, got 0"),
        (["--out", "grid.txt"], "must end in .yaml"),
        (["--label", "x"], "it knows"),
        (["--guidance", 3], "guidance needs a condition"),
    ],
)
def test_wrong_requests_for_a_grid(run_dir, tmp_path, arguments, saying):
    refused("grid", run_dir, *arguments, cwd=tmp_path, saying=saying)


def test_no_grid_is_fitted_to_a_student(run_dir, tmp_path):
    student = tmp_path / "student"
    tiny_train(student, "objective=consistency_continuous", "sampler=consistency", "trainer.max_steps=1")
    saying = "trained for few steps of its own sampler, consistency: sample it with --steps 1 to 4"
    refused("grid", student, "-n", 1, cwd=tmp_path, saying=saying)
