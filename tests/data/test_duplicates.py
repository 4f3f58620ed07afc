"""Samples that repeat others: exact copies are found anywhere, near-duplicates among those that are compared."""

import numpy as np
import pytest
import soundfile

from modalities.audio.modality import AudioModality
from multidiff.data import duplicates as module
from multidiff.data.duplicates import duplicates, equal_files
from multidiff.data.folder import Folder
from multidiff.data.survey import problems
from tests.data.pictures import folder, noise

COUNT = 40


@pytest.fixture
def few(monkeypatch):
    """Far fewer samples are compared than there are."""
    monkeypatch.setattr(module, "COMPARED", 8)
    monkeypatch.setattr(module, "TOGETHER", 4)


def test_files_of_equal_content_are_found_whatever_their_names(tmp_path):
    contents = {"a": b"one", "b": b"two", "c": b"one", "d": b"longer", "e": b"two", "f": b"one"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    pairs = equal_files(sorted(tmp_path.iterdir()))
    assert [(first.name, second.name) for first, second in pairs] == [("a", "c"), ("b", "e"), ("a", "f")]


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_picture_that_repeats_another_is_found(tmp_path, suffix):
    pictures = {f"{i}.png": noise(i) for i in range(5)}
    smooth = noise(9)[:4, :4].repeat(4, axis=0).repeat(4, axis=1)
    data = folder(tmp_path, {**pictures, "a.png": smooth, f"b.{suffix}": smooth})
    assert duplicates(data).pairs == [(5, 6)]
    assert any(
        f"1 sample nearly equal to another one, for example a.png and b.{suffix}" in line for line in problems(data)
    )


def test_different_pictures_are_no_duplicates(tmp_path):
    assert not duplicates(folder(tmp_path, {f"{i}.png": noise(i) for i in range(20)})).pairs


@pytest.mark.usefixtures("few")
def test_every_exact_copy_is_found_however_few_samples_are_compared(tmp_path):
    pictures = {f"{i:02}{which}.png": noise(i) for i in range(COUNT) for which in ("", " copy")}
    data = folder(tmp_path, pictures)
    assert duplicates(data).pairs == [(2 * i, 2 * i + 1) for i in range(COUNT)]
    assert any(
        f"{COUNT} samples nearly equal to another one (exact copies sought in all, near copies in 8), "
        "for example 00 copy.png and 00.png" in line
        for line in problems(data)
    )


def test_copies_in_other_folders_and_with_random_crops_are_found(tmp_path):
    pictures = {f"{place}/{i}.png": np.tile(noise(i), (2, 2, 1)) for place in ("a", "b") for i in range(5)}
    data = folder(tmp_path, pictures, crop="random")
    assert duplicates(data).pairs == [(i, 5 + i) for i in range(5)]


@pytest.mark.usefixtures("few")
def test_neighbours_are_compared_with_each_other(tmp_path):
    changed = {f"{i:02}b.png": np.clip(noise(i), 1, 254) for i in range(COUNT)}
    found = duplicates(folder(tmp_path, {f"{i:02}a.png": noise(i) for i in range(COUNT)} | changed))
    assert found.compared == 8
    assert not found.complete
    assert len(found.pairs) >= 3
    assert all((first + 1, first % 2) == (second, 0) for first, second in found.pairs)


def test_every_clip_of_a_copied_sound_is_one(tmp_path):
    for name, seed in (("a", 0), ("b", 1), ("c", 0)):
        soundfile.write(tmp_path / f"{name}.wav", np.random.default_rng(seed).uniform(-0.5, 0.5, 5000), 1000)
    modality = AudioModality(sample_rate=1000)
    data = Folder(modality, tmp_path, seconds=2.0, loudness=None, cache=tmp_path / "cache")
    assert duplicates(data).pairs == [(0, 4), (1, 5)]
