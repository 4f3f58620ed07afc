"""What a training tells before it starts, and what `--dry-run` tells."""

import re

import numpy as np
import pytest
import yaml
from PIL import Image

from multidiff.configuration import group_options, load_option
from multidiff.errors import InputError
from multidiff.training.memory import moments
from multidiff.training.rehearsal import rehearsed
from multidiff.training.train import built
from tests.folders import boxes, tones
from tests.tiny import TINY, fast_compose, tiny_train
from tests.tiny_codec import train_codec

SOUNDS = ("data.seconds=0.1", "modality.sample_rate=8000")


def test_a_training_tells_what_it_found(tmp_path, capsys):
    tiny_train(tmp_path / "run", "trainer.max_steps=1", "reference=a distance of 3 in 5 minutes")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "data     1,797 samples of 1x8x8 from Digits",
        "data     label: 10 classes, 0, 1, 2 and 7 more",
    ]
    assert "compare  a distance of 3 in 5 minutes" in lines
    assert Image.open(tmp_path / "run/data.png").width > 8


def test_few_pictures_are_a_reason_for_a_trained_model_but_not_in_place_of_a_codec(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("multidiff.data.survey.FEW", 2000)
    few = "problem  1,797 samples, which a model will memorise: take at least 2000"
    tiny_train(tmp_path / "run", "trainer.max_steps=1")
    ways = (
        "experiment=finetune init=emoji, which trains a bundled model further",
        "experiment=image/lora, which trains a pretrained pipeline",
    )
    assert f"{few}, or {', or '.join(ways)}\n" in capsys.readouterr().out
    train_codec(tmp_path / "codec", "trainer.max_steps=1")
    assert f"{few}\n" in capsys.readouterr().out


def test_samples_that_are_large_for_a_cpu_are_a_reason_for_a_codec(tmp_path, monkeypatch, capsys):
    advice = "problem  samples of 1x8x8 are large for a CPU: train a codec of your data first"
    monkeypatch.setattr("multidiff.training.run.LARGE", 64)
    tiny_train(tmp_path / "large", "trainer.max_steps=1")
    assert advice in capsys.readouterr().out
    monkeypatch.setattr("multidiff.training.run.LARGE", 65)
    tiny_train(tmp_path / "small", "trainer.max_steps=1")
    assert "large for a CPU" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("room", "advice"),
    [(420_000, "set loader.batch_size=2"), pytest.param(300_000, "not even one sample fits", marks=pytest.mark.slow)],
)
def test_a_step_that_memory_will_not_hold_is_told_before_it(tmp_path, monkeypatch, capsys, room, advice):
    """Weights and moments need 266 kB, and a sample 70."""
    monkeypatch.setattr("multidiff.training.memory.COUNTED", 8 * 64)
    monkeypatch.setattr("multidiff.training.memory.room_of", lambda kind: room)
    tiny_train(tmp_path / "run", "trainer.max_steps=1")
    line = rf"problem  a step needs about .* GB, but .* GB are available: {advice}"
    assert re.search(line, capsys.readouterr().out)


def test_batches_that_are_left_open_are_as_large_as_memory_allows_and_stay(tmp_path, monkeypatch):
    for steps, room in enumerate((420_000, 10**9), start=1):
        monkeypatch.setattr("multidiff.training.fitting.room_of", lambda kind, room=room: room)
        tiny_train(tmp_path, f"trainer.max_steps={steps}", "loader.batch_size=null", "resume=auto")
        assert yaml.safe_load((tmp_path / "config.yaml").read_text())["loader"]["batch_size"] == 2


@pytest.mark.parametrize(
    ("experiment", "write", "small"),
    [
        pytest.param(
            "audio/folder",
            tones,
            ["optimizer=adamw", "backbone.widths=[8,8]", "backbone.head_size=8", *SOUNDS],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "shape/mesh_folder",
            boxes,
            ["backbone.width=8", "backbone.head_size=8", "data.points=64"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_batches_of_sounds_and_meshes_fit_the_memory(tmp_path, monkeypatch, experiment, write, small):
    write(tmp_path, 24)
    config = fast_compose([f"experiment={experiment}", f"data.root={tmp_path}", "trainer.accelerator=cpu", *small])
    config.run_dir = str(tmp_path / "run")
    monkeypatch.setattr("multidiff.training.fitting.room_of", lambda kind: 10**9)
    run = built(config)
    assert run.settings["loader"]["batch_size"] == 16
    monkeypatch.setattr("multidiff.training.fitting.room_of", lambda kind: run.memory(16).total - 1)
    assert built(config).settings["loader"]["batch_size"] == 8


def test_a_rehearsal_tells_memory_and_time_and_trains_nothing(tmp_path):
    config = fast_compose([*TINY, "trainer.max_steps=100"])
    config.run_dir = str(tmp_path / "run")
    lines = list(rehearsed(config))
    number = r"\d\.?\d*(e-\d+)?"
    parts = rf"{number} weights, {number} optimiser, {number} activations and gradients"
    assert re.fullmatch(rf"memory   {number} GB expected: {parts}", lines[-3])
    assert re.fullmatch(rf"memory   {number} GB measured in 11 steps, with all that the process has loaded", lines[-2])
    assert re.fullmatch(r"time     \S+ s a step, \S+ (s|min) for 100 steps, without .*", lines[-1])
    assert {path.name for path in (tmp_path / "run").rglob("*")} == {"run.lock", "data.png"}


def test_a_rehearsal_tells_once_what_is_left_out(tmp_path, caplog):
    for i in range(8):
        path = tmp_path / f"PICTURES/{i % 2}/{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (8, 8), np.uint8)).save(path)
    (tmp_path / "PICTURES/0/none.png").write_bytes(b"no picture")
    config = fast_compose([*TINY, "data=image_folder", f"data.root={tmp_path / 'PICTURES'}", "data.size=8"])
    config.run_dir = str(tmp_path / "run")
    assert list(rehearsed(config))
    assert caplog.text.count("none.png") == 1


def test_a_rehearsal_refuses_a_budget_that_training_refuses(tmp_path):
    config = fast_compose([*TINY, "budget=0.01s"])
    config.run_dir = str(tmp_path / "run")
    with pytest.raises(InputError, match=r"budget=0\.01s is too short: 10 steps take about"):
        list(rehearsed(config))


def test_a_rehearsed_training_starts_in_the_same_directory(tmp_path):
    config = fast_compose([*TINY, "budget=5m"])
    config.run_dir = str(tmp_path / "run")
    assert "steps" in list(rehearsed(config))[-1]
    assert tiny_train(tmp_path / "run", "trainer.max_steps=1").steps == 1


@pytest.mark.parametrize("optimizer", group_options("optimizer"))
def test_the_memory_of_every_optimiser_is_known(optimizer):
    pytest.importorskip(load_option("optimizer", optimizer)["_target_"].split(".")[0])
    expected = {"adamw": 8, "adamw_8bit": 2, "muon": 4, "schedule_free": 8}
    assert moments(load_option("optimizer", optimizer)) == pytest.approx(expected[optimizer], rel=0.05)
