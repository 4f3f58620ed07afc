"""What a data set holds, and what in it may spoil a training."""

import numpy as np
import pytest
from PIL import Image

from modalities.image.modality import ImageModality
from multidiff.data.dataset import drawn_rows
from multidiff.data.folder import Folder
from multidiff.data.survey import described, near_duplicates, problems


def folder(tmp_path, pictures, captions=()):
    root = tmp_path / "pictures"
    for name, pixels in pictures.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / name, quality=95, subsampling=0)
    for name, caption in captions:
        (root / name).with_suffix(".txt").write_text(caption)
    return Folder(ImageModality(3), root, size=16, cache=tmp_path / "cache")


def noise(seed):
    return np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def test_the_data_are_described(tmp_path):
    pictures = {f"{label}/{i}.png": noise(i) for label in ("cat", "dog") for i in range(3)}
    data = folder(tmp_path, pictures, [("cat/0.png", "a cat"), ("dog/1.png", "a dog"), ("dog/2.png", "a dog")])
    assert described(data) == [
        "6 samples of 3x16x16 from Folder",
        "label: 2 classes, cat, dog",
        "caption: 2 different, 3 without, such as 'a cat', 'a dog'",
    ]


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_pictures_that_repeat_are_found(tmp_path, suffix):
    pictures = {f"{i}.png": noise(i) for i in range(5)}
    smooth = noise(9)[:4, :4].repeat(4, axis=0).repeat(4, axis=1)
    data = folder(tmp_path, {**pictures, "a.png": smooth, f"b.{suffix}": smooth})
    assert near_duplicates(data) == [(5, 6)]
    assert any(
        f"1 sample nearly equal to another one, for example a.png and b.{suffix}" in line for line in problems(data)
    )


def test_different_pictures_are_no_duplicates(tmp_path):
    assert not near_duplicates(folder(tmp_path, {f"{i}.png": noise(i) for i in range(20)}))


def test_few_samples_single_classes_and_equal_captions_are_told(tmp_path):
    pictures = {f"{label}/{i}.png": noise(7 * i) for i, label in enumerate(("cat", "cat", "dog"))}
    data = folder(tmp_path, pictures, [(name, "a photo") for name in pictures])
    assert list(problems(data)) == [
        "3 samples are few: the model will learn them by heart",
        "1 class of one sample: dog",
        "all captions are 'a photo': they cannot steer the model",
    ]


@pytest.mark.parametrize("classes", [7, 8])
def test_rows_that_are_shown_have_every_class_of_data_that_repeat(classes):
    rows = drawn_rows(64 * classes, 64)
    assert len(set(rows)) == 64
    assert {row % classes for row in rows} == set(range(classes))
    assert sorted(drawn_rows(5, 64)) == [0, 1, 2, 3, 4]
