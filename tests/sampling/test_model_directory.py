"""A model directory gives back what was saved, and a wrong one is refused in one line."""

import os
import re
import shutil
from contextlib import suppress

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import multidiff
from modalities.image.data import Digits
from multidiff.data.streaming.shards import ShardDataset
from multidiff.errors import InputError
from multidiff.evaluation.evaluated import EvaluatedModel
from multidiff.sampling.model_directory import load, read_config
from tests.mutations import limited
from tests.tiny import tiny_train


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("model") / "run"
    tiny_train(run_dir, "trainer.max_steps=1", "guidance=1.5", "sampler=heun")
    return run_dir


@pytest.fixture
def model(run_dir, tmp_path):
    return shutil.copytree(run_dir / "model", tmp_path / "model")


def edit(model, change):
    config = yaml.safe_load((model / "config.yaml").read_text())
    change(config)
    (model / "config.yaml").write_text(yaml.safe_dump(config))


def test_a_run_and_its_model_are_the_same(run_dir, model):
    images = [multidiff.load(path).sample(2, steps=3)[1].tobytes() for path in (run_dir, model, str(model))]
    assert len(set(images)) == 1


def test_sampling_settings_travel_with_the_model(model):
    pipeline = multidiff.load(model)
    assert pipeline.sampler["name"] == "heun"
    assert pipeline.guidance == 1.5


def test_the_config_needs_nothing_from_where_it_was_made(model):
    text = (model / "config.yaml").read_text()
    assert "${" not in text
    assert str(model.parent) not in text


def test_the_card_says_what_it_is(model):
    card = (model / "README.md").read_text()
    assert "label: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9" in card
    assert "heun, 18 steps, guidance 1.5" in card


def refused(model, message):
    with pytest.raises(InputError, match=message) as caught:
        multidiff.load(model)
    assert "\n" not in str(caught.value)


def test_a_device_that_is_not_there(model):
    with pytest.raises(InputError, match="the device 'gpu9' cannot be used"):
        multidiff.load(model, "gpu9")


def test_missing_directory(tmp_path):
    refused(tmp_path / "nowhere", "no such directory")


def test_directory_that_is_none(tmp_path):
    refused(tmp_path, r"config\.yaml and model\.safetensors missing")


def test_missing_weights(model):
    (model / "model.safetensors").unlink()
    refused(model, r"model\.safetensors missing")


@pytest.mark.parametrize("size", [0, 4, 1000])
def test_truncated_weights(model, size):
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:size])
    refused(model, "is damaged: its SHA-256 is not the one in config.yaml")
    edit(model, lambda config: config.pop("weights_sha256"))
    refused(model, "damaged or truncated")


def test_weights_of_another_model(model):
    state = load_file(model / "model.safetensors")
    state["foreign"] = state.pop(next(iter(state)))
    save_file(state, model / "model.safetensors")
    edit(model, lambda config: config.pop("weights_sha256"))
    refused(model, "weights of another model")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensor: tensor.half(), "weights of another model"),
        (lambda tensor: tensor * torch.nan, "has a weight that is not finite"),
    ],
)
def test_weights_of_another_type_and_weights_that_are_not_finite(model, change, message):
    state = load_file(model / "model.safetensors")
    save_file({name: change(tensor) for name, tensor in state.items()}, model / "model.safetensors")
    edit(model, lambda config: config.pop("weights_sha256"))
    refused(model, message)


def test_weights_in_a_special_file(model):
    (model / "model.safetensors").unlink()
    os.mkfifo(model / "model.safetensors")
    refused(model, "missing or not a file")


@pytest.mark.parametrize("value", [None, "text", -1, [], {}, 2**70])
def test_any_wrong_setting_of_a_config_is_refused(model, value):
    """Each entry of the config, replaced by something else."""
    config = read_config(model)
    parts = ("modality", "codec", "backbone", "conditioning", "schedule", "prediction")
    for part in parts:
        for name in config[part]:
            changed = {**config, part: {**config[part], name: value}}
            (model / "config.yaml").write_text(yaml.safe_dump(changed))
            with suppress(InputError):  # some entries accept some of the values
                load(model, "cpu")
    for name in (*parts, "data_shape", "sampler"):
        (model / "config.yaml").write_text(yaml.safe_dump({**config, name: value}))
        with pytest.raises(InputError):
            load(model, "cpu").plan(1)


def test_weights_of_another_shape(model):
    edit(model, lambda config: config["backbone"].update(widths=[16, 16], head_size=16))
    refused(model, "weights of another model")


@pytest.mark.parametrize("setting", [{"blocks": [2**31, 1]}, {"widths": [2**15, 2**15]}])
def test_a_model_larger_than_its_weights_is_refused_before_it_takes_memory(model, setting):
    edit(model, lambda config: config["backbone"].update(setting))
    with limited():
        refused(model, "the model has more weights than its file holds")


@pytest.mark.parametrize("training", ["text", [1], {"holdout": "x"}, {"seed": [1]}])
def test_facts_of_a_training_that_are_none_are_refused_by_evaluation(model, training):
    edit(model, lambda config: config.update(training=training))
    with pytest.raises(InputError, match="training must hold numbers"):
        EvaluatedModel(str(model), torch.device("cpu"))


def test_a_config_that_names_foreign_code(model, tmp_path, monkeypatch):
    (tmp_path / "evil_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    edit(model, lambda config: config["backbone"].update(_target_="evil_module.Evil"))
    refused(model, r"'evil_module\.Evil', which is not allowed")


@pytest.mark.parametrize("key", ["channels", "_target_"])
def test_an_interpolation_is_only_text(model, tmp_path, monkeypatch, key):
    """However it is spelt: Hydra's own instantiate would resolve it, and call what it names."""
    (tmp_path / "evil_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    text = (model / "config.yaml").read_text()
    evil = r'"\x24{oc.create:{_target_: evil_module.Evil}}"'
    spoilt = re.sub(rf"^  {key}: .*$", lambda _: f"  {key}: {evil}", text, count=1, flags=re.MULTILINE)
    assert spoilt != text
    (model / "config.yaml").write_text(spoilt)
    refused(model, "oc.create")


@pytest.mark.parametrize("text", ["", "[1, 2", "a: 1", "format: 99"])
def test_a_config_that_is_none(model, text):
    (model / "config.yaml").write_text(text)
    refused(model, r"config\.yaml")


@pytest.mark.parametrize(
    ("number", "way"),
    [
        (1, "reads format 2: install multidiff-toolkit 0.1"),
        (3, "reads format 2: install a newer multidiff-toolkit"),
        ([], "a newer multidiff-toolkit"),
    ],
)
def test_another_format_names_the_version_that_reads_it(model, number, way):
    edit(model, lambda config: config.update(format=number))
    refused(model, way)


@pytest.mark.parametrize(
    "group", ["modality", "backbone", "codec", "conditioning", "schedule", "data_shape", "sampler"]
)
def test_a_config_that_lacks_a_part(model, group):
    edit(model, lambda config: config.pop(group))
    refused(model, group)


@pytest.mark.parametrize(
    ("name", "value", "way"),
    [
        ("data_shape", [1, 8, "8"], "data_shape is a list of whole numbers above 0"),
        ("data_shape", [1, 8, 0], "data_shape is a list of whole numbers above 0"),
        ("log_snr_range", [3.0, 2.0], "log_snr_range is the lowest and the highest log SNR"),
        ("log_snr_range", [None, 3.0], "does not describe a model"),
    ],
)
def test_numbers_that_no_model_has(model, name, value, way):
    edit(model, lambda config: config.update({name: value}))
    refused(model, way)


OBJECT = {"_target_": "modalities.image.data.Digits"}
SHARDS = {"_target_": "multidiff.data.streaming.shards.ShardDataset", "shards": "http://localhost:1/leak.tar"}


@pytest.mark.parametrize("foreign", [OBJECT, SHARDS])
def test_no_place_of_a_config_builds_what_does_not_belong_there(model, foreign, monkeypatch):
    """No network, no file: data sets are never built."""
    monkeypatch.setattr(Digits, "__init__", lambda *arguments, **settings: pytest.fail("built"))
    monkeypatch.setattr(ShardDataset, "__init__", lambda *arguments, **settings: pytest.fail("built"))
    config = read_config(model)
    for part in ("modality", "codec", "backbone", "schedule", "prediction"):
        places = [{**config[part], name: foreign} for name in ("extra", *config[part])]
        for changed in (foreign, *places):
            (model / "config.yaml").write_text(yaml.safe_dump({**config, part: changed}))
            with pytest.raises(InputError):
                load(model, "cpu")
    for part in ("method", "grid"):
        for changed in (foreign, {**config["sampler"][part], "extra": foreign}):
            sampler = {**config["sampler"], part: changed}
            (model / "config.yaml").write_text(yaml.safe_dump({**config, "sampler": sampler}))
            with pytest.raises(InputError):
                load(model, "cpu").plan(1)
