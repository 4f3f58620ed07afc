"""The command that says what a path is."""

import json
import shutil

import numpy as np
import pytest
import soundfile
import yaml
from PIL import Image

from multidiff.cli.inspection import inspected
from multidiff.errors import InputError
from tests.cli.command import multidiff, refused
from tests.tiny import tiny_train
from tests.tiny_codec import train_codec


def inspect(*arguments, cwd):
    done = multidiff("inspect", *arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return " ".join(done.stdout.split())


@pytest.fixture
def pictures(tmp_path):
    for label, count in (("cat", 20), ("dog", 1), ("owl", 2)):
        (tmp_path / "data" / label).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (9, 6), (10 * i, 0, 0)).save(tmp_path / "data" / label / f"{i}.png")
    for i in range(2):
        (tmp_path / "data" / "cat" / f"{i}.txt").write_text("a red cat")
    (tmp_path / "data" / "cat" / "broken.png").write_text("nothing")
    return tmp_path / "data"


def test_a_folder_of_data(pictures, tmp_path):
    found = inspect(pictures, "--picture", "seen.png", cwd=tmp_path)
    for part in ("data (image)", "24 files", "9 x 6 pixels (23)", "cat (21), owl (2), dog (1)", "2, 1 different"):
        assert part in found
    for problem in (
        "1 of the files read cannot be used",
        "24 files, which a model will memorise: take at least 200, or experiment=finetune init=emoji",
        "1 class with only one file: dog",
        "classes with few files: owl (2); the largest has 21",
        "all captions are 'a red cat'",
        "3 files equal to another one, for example cat/0.png and dog/0.png, cat/0.png and owl/0.png",
        "22 files have no caption",
    ):
        assert problem in found
    assert Image.open(tmp_path / "seen.png").size > (9, 6)


def test_a_sound(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.sin(np.arange(4000)), 8000)
    assert "a file of the modality audio, without metadata of MultiDiff" in inspect("a.wav", cwd=tmp_path)
    assert "0.5 s, mono, 8000 Hz" in inspect(".", cwd=tmp_path)


def test_a_run_a_model_samples_and_one_of_them(run_dir, tmp_path):
    run = inspect(run_dir, cwd=tmp_path)
    assert "a run" in run
    assert "label: 0, 1, 2" in run
    assert "problems none found" in inspect(run_dir / "model", "--picture", "model.jpg", cwd=tmp_path)
    assert (tmp_path / "model.jpg").is_file()
    made = multidiff("sample", run_dir, "-n", 3, "--label", 7, "--steps", 2, "--out", "out", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    one = inspect("out/00001.png", cwd=tmp_path)
    for part in ("a generated image", "8 x 8 pixels", "1 of 3", "label=7", "2 steps"):
        assert part in one
    (tmp_path / "out" / "00000.png").unlink()
    Image.new("L", (8, 8)).save(tmp_path / "out" / "00001.png")
    folder = inspect("out", cwd=tmp_path)
    assert "1 files are missing: 00000.png" in folder
    assert "1 files have changed since they were written: 00001.png" in folder


def test_a_run_tells_of_its_model_of_the_lowest_loss(tmp_path):
    tiny_train(tmp_path, "trainer.max_steps=2", "trainer.val_check_interval=2")
    lowest = tmp_path / "lowest_loss"
    config = yaml.safe_load((lowest / "config.yaml").read_text())
    expected = f"{config['training']['val_loss']:.4g} at step 2, in {lowest}"
    assert inspected(tmp_path).facts["lowest loss"] == expected
    del config["training"]["val_loss"]
    (lowest / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match="lacks the loss or the step of the training"):
        inspected(tmp_path)


def test_a_bundled_model_shows_its_licence_and_its_card(tmp_path):
    found = inspect("drums", cwd=tmp_path)
    for part in ("a model", "licence mit", "## Data Drum hits", "## Limits", "## Scores", "library_name"):
        assert (part in found) == (part != "library_name")


def test_a_card_commands_no_terminal_and_may_be_missing(run_dir, tmp_path):
    model = shutil.copytree(run_dir / "model", tmp_path / "model")
    assert "Trained with MultiDiff" in inspected(model).text
    (model / "README.md").write_text("---\nlicense:  cc0-1.0\n---\n\x1b[2JA card.\n")
    assert (inspected(model).text, inspected(model).facts["licence"]) == ("[2JA card.", "cc0-1.0")
    (model / "README.md").write_bytes(b"\xff\xfe\xff")
    assert any("README.md" in problem for problem in inspected(model).problems)
    (model / "README.md").unlink()
    assert inspected(model).text == ""


def test_a_codec_and_its_run(tmp_path):
    train_codec(tmp_path / "run")
    found, run = inspected(tmp_path / "run" / "model"), inspected(tmp_path / "run")
    assert (found.kind, run.kind) == ("a codec", "a run of a codec")
    expected = {"modality": "image", "data": "1 x 8 x 8", "latents": "2 x 2 x 2", "training data": "Digits"}
    for facts in (found.facts, run.facts):
        assert expected.items() <= facts.items()
    assert inspected(tmp_path / "run" / "model" / "model.safetensors").kind == "a codec"
    with pytest.raises(InputError, match="a codec generates no samples; score it with multidiff evaluate"):
        found.picture()


def test_a_damaged_plan_is_no_plan(run_dir, tmp_path):
    multidiff("sample", run_dir, "-n", 1, "--steps", 1, "--out", "out", cwd=tmp_path)
    record = json.loads((tmp_path / "out" / "samples.json").read_text())
    (tmp_path / "out" / "samples.json").write_text(json.dumps({**record, "sampler": 3}))
    refused("inspect", "out", cwd=tmp_path, saying="the plan lacks")


def test_what_cannot_be_inspected_is_explained(tmp_path):
    refused("inspect", "missing", cwd=tmp_path, saying="there is nothing at missing")
    (tmp_path / "a.xyz").touch()
    refused("inspect", "a.xyz", cwd=tmp_path, saying="a.xyz has no supported suffix; supported: .wav")
    refused("inspect", ".", cwd=tmp_path, saying="no readable")
    refused("inspect", "a.xyz", "--picture", "a.txt", cwd=tmp_path, saying="must end in .png or .jpg")
