"""Settings that a config leaves to the data and the machine."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from multidiff.configuration import load_option
from multidiff.data.labels import Labels
from multidiff.errors import InputError
from multidiff.training.fitting import fitted_backbone, fitted_batch, fitted_conditions, fitted_length, fitted_warmup
from multidiff.training.train import built
from tests.tiny import fast_compose

CONF = Path(__file__).parents[2] / "conf"
SETTINGS = {"conditioning": {"label": {}, "caption": {}, "found": {"dim": 8}}, "guidance": None, "max_missing": 0.5}
CLASSES, CAPTIONS = Labels.of(["a", "b"]), ["a dog", "a cat"]


@pytest.mark.parametrize(
    ("fields", "chosen"),
    [
        ({"label": CLASSES, "caption": CAPTIONS}, ["label", "caption"]),
        ({"label": Labels.of(["a", "a"]), "caption": CAPTIONS}, ["caption"]),
        ({"label": CLASSES, "caption": ["a dog", "a dog"]}, ["label"]),
        ({"caption": ["a dog", "a cat", None]}, ["caption"]),
        ({"caption": ["a dog", "a cat", None, None, None]}, []),
        ({}, []),
    ],
)
def test_conditions_are_the_fields_that_tell_samples_apart(fields, chosen):
    fitted = fitted_conditions(SETTINGS, None, fields)
    assert list(fitted["conditioning"]) == chosen
    assert fitted["guidance"] == (2.0 if chosen else 1.0)


@pytest.mark.parametrize(
    ("column", "chosen"),
    [
        ([120, 90.5, None, 0], True),
        (np.array([3, 4]), True),
        ([120, 120], False),
        ([1, None, None, None], False),
        (["fast", "slow"], False),
        ([True, False], False),
        ([1.0, np.nan], False),
    ],
)
def test_columns_of_numbers_are_conditions(column, chosen):
    fitted = fitted_conditions(SETTINGS, None, {"tempo": column, "label": CLASSES})["conditioning"]
    assert fitted == {"label": {}} | ({"tempo": {"dim": 8}} if chosen else {})


def test_numbers_of_metadata_condition_a_model_of_a_folder_and_durations_do_not(tmp_path):
    lines = []
    for i in range(24):
        soundfile.write(tmp_path / f"{i}.wav", np.sin(np.arange(800 + 10 * i) / (i + 3)), 8000)
        lines.append(json.dumps({"file_name": f"{i}.wav", "tempo": 60 + i}))
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    sounds = (f"data.root={tmp_path}", "data.seconds=0.1", "modality.sample_rate=8000", "loader.workers=0")
    small = ("backbone.widths=[8,8]", "backbone.head_size=8", "loader.batch_size=4", "optimizer=adamw")
    config = fast_compose(["experiment=audio/folder", *sounds, *small])
    config.run_dir = str(tmp_path / "run")
    run = built(config)
    assert run.pipeline.model.conditioner.describe() == "tempo: a number from 60 to 83"
    assert run.settings["guidance"] == 2.0


def test_what_is_chosen_by_hand_stays():
    chosen = {"conditioning": {"label": {}}, "guidance": 3.0, "max_missing": 0.5}
    assert fitted_conditions(chosen, None, {}) == chosen


def test_a_resumed_run_keeps_its_conditions():
    before = {"conditioning": {"label": {"dim": 8}}}
    assert list(fitted_conditions(SETTINGS, before, {"caption": CAPTIONS})["conditioning"]) == ["label"]


@pytest.mark.parametrize(
    ("shape", "accelerated", "widths", "blocks"),
    [
        ((3, 64, 64), False, [16, 32, 96, 192], [1, 1, 1, 2]),
        ((3, 32, 48), False, [32, 96, 192], [1, 1, 2]),
        ((1, 28, 28), False, [96, 192], [1, 2]),
        ((3, 256, 256), True, [32, 64, 128, 192, 256, 384], [2, 2, 2, 2, 2, 2]),
    ],
)
def test_a_unet_has_stages_down_to_eight_positions(shape, accelerated, widths, blocks):
    fitted = fitted_backbone(load_option("backbone", "unet_fitted"), None, shape, 100, accelerated)
    assert (fitted["widths"], fitted["blocks"], fitted["dropout"]) == (widths, blocks, 0.1)
    assert fitted["attention"] == [False] * (len(widths) - 1) + [True]


def test_blocks_follow_widths_that_are_given():
    config = load_option("backbone", "unet_fitted") | {"widths": [8, 16], "dropout": 0.3}
    fitted = fitted_backbone(config, None, (3, 64, 64), 100, False)
    assert (fitted["widths"], fitted["blocks"], fitted["dropout"]) == ([8, 16], [1, 2], 0.3)


def test_strides_follow_the_other_lists():
    config = load_option("backbone", "unet1d_fitted") | {"widths": [8, 8], "blocks": [1, 1], "attention": [False, True]}
    assert fitted_backbone(config, None, (544, 1000), 100, False) == config | {"strides": [1, 3]}
    one = load_option("backbone", "unet1d_fitted") | {"blocks": [1, 2, 1]}
    assert fitted_backbone(one, None, (544, 126), 100, False)["widths"] == [128, 192, 192]


@pytest.mark.parametrize(("option", "shape"), [("unet", (3, 64, 64)), ("dit", (3, 64, 64))])
def test_what_no_rule_knows_stays_open(option, shape):
    config = load_option("backbone", option) | {"strides": None}
    assert fitted_backbone(config, None, shape, 100, False) == config


def test_a_resumed_run_keeps_its_backbone():
    config = load_option("backbone", "points_fitted")
    before = fitted_backbone(config, None, (6, 1024), 100, True)
    assert fitted_backbone(config, before, (6, 1024), 20_000, False) == before


@pytest.mark.parametrize(
    ("frames", "accelerated", "widths", "strides", "blocks"),
    [
        (126, False, [128, 192], [1, 3], [1, 1]),
        (300, False, [128, 192], [1, 3], [1, 1]),
        (301, False, [128, 192, 192], [1, 3, 2], [1, 1, 1]),
        (1260, True, [256, 384, 384, 384, 384], [1, 3, 2, 2, 2], [2, 2, 2, 2, 2]),
    ],
)
def test_a_unet_of_sounds_has_stages_down_to_a_hundred_frames(frames, accelerated, widths, strides, blocks):
    fitted = fitted_backbone(load_option("backbone", "unet1d_fitted"), None, (544, frames), 100, accelerated)
    assert (fitted["widths"], fitted["strides"], fitted["blocks"]) == (widths, strides, blocks)
    assert fitted["attention"] == [False] * (len(widths) - 1) + [True]


def test_for_a_second_of_sound_on_a_cpu_the_fitted_network_is_the_small_one():
    fitted = fitted_backbone(load_option("backbone", "unet1d_fitted"), None, (544, 126), 100, False)
    assert fitted == load_option("backbone", "unet1d_small")


@pytest.mark.parametrize(("dims", "shape"), [(3, (3, 8, 64, 64)), (2, (1, 16000)), (1, (3, 64, 64))])
def test_a_unet_has_no_rule_for_other_data(dims, shape):
    config = load_option("backbone", "unet_fitted") | {"dims": dims}
    with pytest.raises(InputError, match=rf"backbone\.widths.*dims={dims}.*{'x'.join(map(str, shape))}"):
        fitted_backbone(config, None, shape, 100, False)


@pytest.mark.parametrize(("steps", "budget", "length"), [(None, None, "2h"), (10, None, None), (None, "5m", "5m")])
def test_a_training_without_a_length_has_a_budget(steps, budget, length):
    assert fitted_length({"trainer": {"max_steps": steps}, "budget": budget}, None)["budget"] == length


@pytest.mark.parametrize(("steps", "budget", "kept"), [(None, None, "30m"), (None, "1h", "1h"), (20, None, None)])
def test_a_resumed_run_keeps_its_budget_unless_another_length_is_given(steps, budget, kept):
    before = {"trainer": {"max_steps": None}, "budget": "30m"}
    assert fitted_length({"trainer": {"max_steps": steps}, "budget": budget}, before)["budget"] == kept


@pytest.mark.parametrize(("shape", "samples"), [((3, 64, 64), 128), ((544, 126), 16), ((6, 1024), 16)])
def test_only_pictures_come_in_large_batches_on_a_gpu(monkeypatch, shape, samples):
    monkeypatch.setattr("multidiff.training.fitting.room_of", lambda kind: 0)
    assert fitted_batch({"batch_size": None}, None, shape, lambda count: None, "cuda")["batch_size"] == samples


@pytest.mark.parametrize(
    ("given", "budget", "max_steps", "before", "steps"),
    [
        (None, None, 45, None, 4),
        (None, None, 1500, None, 100),
        (None, "2h", None, None, 100),
        (50, None, 45, None, 50),
        (None, None, 10000, {"warmup_steps": 4}, 4),
    ],
)
def test_the_warm_up_is_a_tenth_of_a_short_training(given, budget, max_steps, before, steps):
    settings = {"warmup_steps": given, "budget": budget, "trainer": {"max_steps": max_steps}}
    assert fitted_warmup(settings, before)["warmup_steps"] == steps


def test_the_warm_up_of_shipped_experiments_is_not_shortened():
    experiments = [yaml.safe_load(path.read_text()) for path in (CONF / "experiment").rglob("*.yaml")]
    lengths = [each["trainer"].get("max_steps") for each in experiments if "trainer" in each]
    assert min(steps for steps in lengths if steps is not None) >= 10 * 100
