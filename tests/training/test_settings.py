import numpy as np
import pytest
from PIL import Image

from multidiff.configuration import compose
from multidiff.data.labels import Labels
from multidiff.data.texts import Texts
from multidiff.errors import InputError
from multidiff.model import in_force
from multidiff.training.run import build
from multidiff.training.settings import check_missing, check_share
from tests.tiny import TINY

LACKS = "3 of 4 samples have no caption, and max_missing=0.5 of them may lack it: add it .* at least 0.75"


@pytest.mark.parametrize(
    "column",
    [
        ["a ball", "", "", ""],
        Texts(["a ball", "", "", ""]),
        ["a ball", None, None, None],
        [("a ball", "one"), "", (), ""],
    ],
    ids=["folders", "shards and tables", "columns", "alternatives"],
)
def test_captions_may_be_missing_up_to_a_limit(column):
    check_missing({"caption": column}, ["caption"], 0.75)
    check_missing({"caption": column}, ["label"], 0)
    with pytest.raises(InputError, match=LACKS):
        check_missing({"caption": column}, ["label", "caption"], 0.5)


def test_numbers_and_classes_are_counted_alike():
    numbers = np.array([1.0, 2.0])
    check_missing({"seconds": numbers, "label": Labels([0, 0], ["a"])}, ["seconds", "label"], 0)


@pytest.mark.parametrize("value", [-0.1, 1.5, "half", True, None])
def test_a_share_is_a_number_from_0_to_1(value):
    with pytest.raises(InputError, match=f"cooldown must be a number from 0 to 1, got {value}"):
        check_share("cooldown", value)


def test_a_folder_with_few_captions_is_refused(tmp_path):
    for i in range(4):
        Image.new("RGB", (8, 8), (60 * i, 0, 0)).save(tmp_path / f"{i}.png")
    (tmp_path / "0.txt").write_text("a ball")
    data = ("modality.channels=3", "data=image_folder", f"data.root={tmp_path}", "data.size=8", "conditioning=[text]")
    settings = (each for each in TINY if "conditioning" not in each)
    config = compose([*settings, *data, f"data.cache={tmp_path / 'cache'}", f"run_dir={tmp_path / 'run'}"])
    with pytest.raises(InputError, match=LACKS):
        build(config)


def test_a_setting_that_an_older_version_did_not_learn_stays_as_that_run_had_it():
    config = {"codec": {"bands": 4, "loudest": None, "mean": None}}
    learned = {"codec": {"bands": 4, "loudest": [1.0], "mean": [2.0]}}
    before = {"codec": {"bands": 4, "mean": [3.0]}}
    assert in_force(config, learned, before) == {"codec": {"bands": 4, "loudest": None, "mean": [3.0]}}
