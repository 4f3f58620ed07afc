"""`multidiff evaluate`: equal scores each time, on any number of processes; every mistake is one line."""

import json
import math
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from modalities.image.data import Digits
from modalities.image.modality import ImageModality
from multidiff.data.files import sha256
from multidiff.evaluation import EvaluationRun, EvaluationSettings, Reference
from multidiff.sampling.model_directory import load
from multidiff.sampling.pipeline import Pipeline
from tests.cli.command import multidiff, refused
from tests.tiny import tiny_train
from tests.training.processes import together

QUICK = ("--features", "encoder steps=10", "--samples", 70, "--steps", 2)
"""Three blocks of samples, the last not full."""


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("evaluate") / "run"
    tiny_train(run_dir, "trainer.max_steps=2")
    return run_dir


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """One folder for all, so that the encoder is trained once."""
    return tmp_path_factory.mktemp("work")


def evaluated(work, name, *arguments):
    done = multidiff("evaluate", *arguments, "--json", f"{name}.json", cwd=work)
    assert done.returncode == 0, done.stderr
    return (work / f"{name}.json").read_text()


@pytest.fixture(scope="module")
def record(run_dir, work):
    return evaluated(work, "first", run_dir, "--data", "digits", *QUICK)


@pytest.mark.parametrize(
    "change",
    [("--batch-size", 96), pytest.param(("--processes", 2), marks=pytest.mark.slow)],
    ids=["batches above a block", "processes"],
)
def test_runs_and_processes_change_no_digit(run_dir, work, record, change):
    assert evaluated(work, "again", run_dir, "--data", "digits", *QUICK, *change) == record


def test_small_batches_change_scores_by_rounding(run_dir, work, record, monkeypatch):
    counts, whole = [], Pipeline.artifacts
    monkeypatch.setattr(Pipeline, "artifacts", lambda self, x0: counts.append(len(x0)) or whole(self, x0))
    small = evaluated(work, "small", run_dir, "--data", "digits", *QUICK, "--batch-size", 5)
    assert counts == [5, 5, 5, 5, 5, 5, 2] * 2 + [5, 5]
    scores, expected = (json.loads(text)["scores"] for text in (small, record))
    for name, score in expected.items():
        assert scores[name]["value"] == pytest.approx(score["value"], rel=0.05, abs=1e-3)


def evaluate_in_one_of_several(rank, work, run_dir):
    arguments = (run_dir, "--data", "digits", *QUICK, "--json", "several.json")
    assert multidiff("evaluate", *arguments, cwd=work).returncode == 0


@pytest.mark.slow
def test_processes_of_torchrun_change_no_digit(run_dir, work, record):
    together(2, evaluate_in_one_of_several, work, run_dir, log=work / "log")
    assert (work / "several.json").read_text() == record


def test_the_protocol_says_all_that_the_scores_depend_on(run_dir, record):
    record = json.loads(record)
    protocol = record["protocol"]
    assert protocol["features"].keys() >= {"name", "sha256", "preprocessing", "dimensions", "accuracy on held-out data"}
    assert protocol["counts"] == {"generated": 70, "reference": 1617, "held_out": 180}
    assert protocol["reference"]["content"] == Digits(ImageModality(1)).content
    generated = protocol["generated"]
    assert generated["model_sha256"] == sha256(run_dir / "model" / "model.safetensors")
    assert (generated["sampler"]["name"], generated["sampler"]["steps"]) == ("dpmpp_2m", 2)
    assert (generated["guidance"], generated["seed"], generated["batch_size"]) == (1.5, 0, 32)
    assert "torch" in protocol["versions"]
    assert all(score["count"] == 70 and score["floor"] is not None for score in record["scores"].values())


def test_real_data_scores_better_than_an_untrained_model(record):
    scores = json.loads(record)["scores"]
    for name in ("frechet_distance", "kernel_distance", "gaussian_distance"):
        assert scores[name]["floor"] < scores[name]["value"]
    for name in ("density", "coverage"):
        assert scores[name]["floor"] > scores[name]["value"]


def test_the_split_is_that_of_the_models_training(tmp_path):
    tiny_train(tmp_path / "run", "trainer.max_steps=1", "seed=7", "loader.holdout=0.2")
    features = f"encoder steps=1 cache={tmp_path}"
    settings = EvaluationSettings("digits", model=str(tmp_path / "run"), features=features, samples=20)
    reference = EvaluationRun(settings).reference
    assert (reference.holdout, reference.seed) == (0.2, 7)


def test_files_of_the_model_score_as_the_model_does(run_dir, work, record):
    """Those of `multidiff sample`, with the same labels and seed; their batches may round by one gray level."""
    reference = Reference(ImageModality(1), Digits(ImageModality(1)), 0.1, 0)
    fields = reference.conditions(70, load(run_dir).model.conditioner)
    labels = [word for each in fields for word in ("--label", each["label"])]
    done = multidiff(
        "sample", run_dir, "-n", 70, "--steps", 2, *labels, "--batch-size", 32, "--out", "samples", cwd=work
    )
    assert done.returncode == 0, done.stderr
    quick = ("--features", "encoder steps=10", "--modality", "image channels=1")
    scores = json.loads(evaluated(work, "files", "--generated", "samples", "--data", "digits", *quick))
    expected = json.loads(record)
    for name, score in expected["scores"].items():
        assert scores["scores"][name]["value"] == pytest.approx(score["value"], rel=0.05, abs=1e-3)
    assert scores["classifier"]["table"] == expected["classifier"]["table"]


def test_a_planted_training_image_is_the_closest_pair(work, tmp_path):
    modality = ImageModality(1)
    reference = Reference(modality, Digits(modality), 0.1, 0)
    folder = work / "planted"
    for i, index in enumerate(reference.held_out[:30]):
        modality.write(reference.artifact(index), folder / f"{i:02d}.png", {})
    modality.write(reference.artifact(reference.training[99]), folder / "17.png", {})
    quick = ("--features", "encoder steps=10", "--modality", "image channels=1", "--report", tmp_path / "report.html")
    memory = json.loads(evaluated(work, "planted", "--generated", folder, "--data", "digits", *quick))["memorisation"]
    assert memory["closest"][0] == {"sample": 17, "training_sample": 99, "distance": 0}
    assert f"sample 17, training sample {reference.training[99]}: 0 apart" in (tmp_path / "report.html").read_text()


def test_the_report_is_one_file_that_needs_no_network(run_dir, work, tmp_path, monkeypatch):
    monkeypatch.setattr("multidiff.evaluation.run.SWEPT_STEPS", (1, 2))
    monkeypatch.setattr("multidiff.evaluation.run.SWEPT_SCALES", (1.0, 2.0))
    path = tmp_path / "report.html"
    swept = ("--sweep", "--guidance-rule", "cfg_rescaled")
    text = evaluated(work, "swept", run_dir, "--data", "digits", *QUICK, "--samples", 20, *swept, "--report", path)
    sweeps = {setting: list(points) for setting, points in json.loads(text)["sweeps"].items()}
    assert sweeps == {"steps": ["1", "2"], "guidance": ["1.0", "2.0"]}
    page = path.read_text()
    for heading in (
        "Scores",
        "Quality against steps",
        "Quality against guidance",
        "Closest pairs",
        "Classes",
        "Protocol",
    ):
        assert heading in page
    assert len(re.findall(r'<img src="data:image/png;base64,', page)) == page.count("<img") > 12
    assert page.count("<svg") == 3
    assert not re.findall(r"""(?:src|href)=["']?(?!["']?(?:data:|#))|url\((?!#)|@import""", page)
    assert "<script" not in page


@pytest.fixture
def pictures(tmp_path):
    for i in range(60):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        Image.new("L", (8, 8), 4 * i).save(tmp_path / "pictures" / f"{i}.png")
    return tmp_path / "pictures"


def test_a_folder_is_data_too(run_dir, tmp_path, pictures):
    done = multidiff(
        "evaluate", run_dir, "--data", pictures, "--holdout", 0.4, *QUICK, "--json", "a.json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    counts = json.loads((tmp_path / "a.json").read_text())["protocol"]["counts"]
    assert counts == {"generated": 70, "reference": 36, "held_out": 24}


@pytest.mark.parametrize(
    ("arguments", "saying"),
    [
        (["--data", "nothing"], "neither a folder nor one of: "),
        (["--data", "idx"], "data idx needs root"),
        (["--data", "idx colour=red"], "'colour=red' is not KEY=VALUE with a key of: root, split, subset"),
        (["--data", "digits", "--generated", "."], "either a MODEL that generates samples, or --generated"),
        (
            ["--data", "digits", "--features", "eyes"],
            "no features is called 'eyes'; there are: audio_encoder, clap, clip",
        ),
        (["--data", "digits", "--features", "inception"], "put https://github.com/toshas"),
        (["--data", "digits", "--samples", 5], "at least 20 samples, got 5"),
        (["--data", "digits", "--samples", 0], "at least 20 samples, got 0"),
        (["--data", "digits", "--holdout", 0.001], "hold out more of it"),
        pytest.param(
            ["--data", "digits", "--holdout", 0.001, "--processes", 2], "hold out more of it", marks=pytest.mark.slow
        ),
        (["--data", "digits", "--holdout", 1.5], "between 0 and 1, got 1.5"),
        (["--data", "digits", "--batch-size", 0], "--batch-size must be at least 1, got 0"),
        (["--data", "digits", "--processes", 0], "--processes must be at least 1, got 0"),
        (["--data", "digits", "--sampler", "guess"], "no sampler is called 'guess'"),
        (["--data", ""], "neither a folder nor one of: "),
        (["--data", "digits", "--json", "."], ". is a folder: name a file to write to"),
        (["--data", "digits '"], 'data "digits \'": no closing quotation'),
        (["--data", "digits", "--features", "encoder '"], 'features "encoder \'": no closing quotation'),
        (["--data", "digits", "--split-seed", -1], "the seed of the split must be at least 0, got -1"),
    ],
)
def test_mistakes_are_one_line(run_dir, tmp_path, arguments, saying):
    refused("evaluate", run_dir, *arguments, cwd=tmp_path, saying=saying)


def test_a_damaged_model_is_not_scored(run_dir, work, tmp_path):
    """Pictures of NaN would be black, and have scores."""
    shutil.copytree(run_dir / "model", tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    save_file({name: x * math.nan for name, x in weights.items()}, tmp_path / "model" / "model.safetensors")
    config = tmp_path / "model" / "config.yaml"
    config.write_text(config.read_text().replace("weights_sha256", "unused"))
    saying = "has a weight that is not finite"
    refused("evaluate", tmp_path / "model", "--data", "digits", *QUICK, cwd=work, saying=saying)


def test_mistakes_with_files_are_one_line(tmp_path, pictures):
    gray = ("--modality", "image channels=1")
    refused("evaluate", "--data", "digits", cwd=tmp_path, saying="either a MODEL")
    refused("evaluate", "--generated", tmp_path / "no", "--data", "digits", cwd=tmp_path, saying="there is no folder")
    refused("evaluate", "--generated", pictures, "--data", "digits", cwd=tmp_path, saying="set modality.channels=1")
    generated = ("evaluate", "--generated", pictures, *gray, "--data", "digits")
    refused(*generated, "--steps", 3, cwd=tmp_path, saying="--steps and --guidance are for a MODEL")
    refused(*generated, "--sweep", cwd=tmp_path, saying="it needs a MODEL")
    quoted = ("evaluate", "--generated", pictures, "--modality", 'image "channels=1', "--data", "digits")
    refused(*quoted, cwd=tmp_path, saying="no closing quotation")
    alone = ("evaluate", "--generated", pictures / "0.png", *gray, "--data", "digits")
    refused(*alone, cwd=tmp_path, saying="there is no folder")
    for text, saying in (
        ("no record", "samples.json: not JSON"),
        ("3", "is not a record that"),
        ('{"files": [], "modality": {}}', "lists no samples"),
    ):
        (tmp_path / "recorded").mkdir(exist_ok=True)
        (tmp_path / "recorded" / "samples.json").write_text(text)
        recorded = ("evaluate", "--generated", tmp_path / "recorded", *gray, "--data", "digits")
        refused(*recorded, cwd=tmp_path, saying=saying)
    Image.new("L", (9, 8)).save(pictures / "z.png")
    quick = ("--features", "encoder steps=1")
    refused(*generated, *quick, cwd=tmp_path, saying="z.png has the shape (1, 8, 9) and the data (1, 8, 8)")
    assert not list(Path(tmp_path).glob("*.json"))
