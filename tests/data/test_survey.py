"""What a data set holds, and what in it may spoil a training."""

import pytest

from multidiff.data.dataset import drawn_rows
from multidiff.data.survey import described, problems
from tests.data.pictures import folder, noise


def test_the_data_are_described(tmp_path):
    pictures = {f"{label}/{i}.png": noise(i) for label in ("cat", "dog") for i in range(3)}
    data = folder(tmp_path, pictures, [("cat/0.png", "a cat"), ("dog/1.png", "a dog"), ("dog/2.png", "a dog")])
    assert described(data) == [
        "6 samples of 3x16x16 from Folder",
        "label: 2 classes, cat, dog",
        "caption: 2 different, 3 without, such as 'a cat', 'a dog'",
    ]


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
