"""Bundled models are found by name wherever a model is, and those in the package are small and trained."""

import shlex
import shutil
import zlib
from pathlib import Path

import pytest

import multidiff
from multidiff import bundled
from multidiff.errors import InputError
from multidiff.sampling.model_directory import load, read_config
from multidiff.sampling.packing import pack
from multidiff.studio.models import Models
from tests.cli.command import multidiff as command
from tests.cli.command import refused
from tests.tiny import tiny_train

CARDS = Path(__file__).parents[1] / "benchmarks" / "cards"
"""The texts of the cards, from which they are packed."""

MOST = 6_000_000
"""Bytes that a bundled model takes in the wheel, which compresses it, its codec included."""

TRAINED = 500
"""Steps that a model in the package has at least."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two small models under the names of bundled ones."""
    folder = tmp_path_factory.mktemp("bundled")
    tiny_train(folder / "run", "trainer.max_steps=1")
    pack(folder / "run", folder / "packages" / "emoji")
    shutil.copytree(folder / "packages" / "emoji", folder / "packages" / "drums")
    return folder / "packages"


@pytest.fixture
def installed(folder, monkeypatch):
    monkeypatch.setattr(bundled, "FOLDER", folder)
    return folder


def test_every_command_takes_the_name(installed, tmp_path):
    for line in (
        "sample emoji -n 1 --label 3 --steps 1 --out dogs",
        "export emoji -n 1 --format png --out files",
        "evaluate emoji --data digits --samples 20 --steps 1 --features 'encoder steps=1'",
        "grid emoji --steps 2 -n 2",
        "inspect emoji",
        "reproduce dogs",
    ):
        done = command(*shlex.split(line), cwd=tmp_path)
        assert done.returncode == 0, (line, done.stderr)
    assert multidiff.load("emoji").sha256 == load(installed / "emoji").sha256


@pytest.mark.parametrize("name", bundled.bundled())
def test_they_are_sampled_in_batches_of_64(name):
    assert load(name, "cpu").batch_size == 64


def test_a_directory_of_that_name_goes_before(installed, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folder.parent / "run", tmp_path / "emoji")
    assert multidiff.load("emoji").sha256 == load(folder.parent / "run").sha256
    shutil.rmtree(tmp_path / "emoji")
    (tmp_path / "emoji").mkdir()
    with pytest.raises(InputError, match=r"config\.yaml and .* missing; rename it to use the bundled model"):
        multidiff.load("emoji")


def test_an_unknown_name_lists_those_that_there_are(installed, tmp_path):
    refused("sample", "emojis", "--out", "out", cwd=tmp_path, saying="no such directory; bundled models: emoji, drums")


def test_a_studio_opens_all_of_them(installed):
    assert list(Models.load([]).pipelines) == ["emoji", "drums"]


@pytest.mark.parametrize("name", bundled.bundled())
def test_a_model_in_the_package_is_small_trained_and_has_a_card(name):
    directory = bundled.FOLDER / name
    assert sum(len(zlib.compress(file.read_bytes())) for file in directory.rglob("*") if file.is_file()) <= MOST
    assert read_config(directory)["training"]["steps"] >= TRAINED
    card = (directory / "README.md").read_text()
    assert card.startswith("---\nlicense: ")
    assert (CARDS / f"{name}.md").read_text().strip() in card
    assert f"multidiff sample {name} -n 16 --out samples" in card
    coarse = {"resolution": 32} if name == "furniture" else {}
    assert load(directory, "cpu").sample(1, steps=2, fields=coarse)


def test_the_package_holds_no_other_models():
    found = {path.name for path in bundled.FOLDER.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert found <= set(bundled.NAMES)
