"""Configs name only what may be built, and every shipped one builds."""

import sys

import pytest
from omegaconf import OmegaConf

from multidiff.configuration import check_target, compose, described, group_options, instantiate, load_option
from multidiff.diffusion.samplers import DPMSolverSinglestep
from multidiff.diffusion.schedules import Cosine
from multidiff.errors import InputError

SETTINGS = ("schedule", "prediction", "objective", "codec", "ema", "logger", "callbacks")


@pytest.mark.parametrize(
    ("group", "name"), [(group, name) for group in SETTINGS for name in group_options(group)], ids=lambda value: value
)
def test_every_shipped_option_builds(group, name, tmp_path):
    if name in ("wandb", "mlflow"):
        pytest.importorskip(name)
    config = compose([f"{group}={name}"])
    config.run_dir = str(tmp_path)
    option = config[group]
    for part in [option] if "_target_" in option else option.values():
        assert instantiate(part) is not None


@pytest.mark.parametrize("name", group_options("sampler"))
def test_every_sampler_names_itself_and_says_when_to_use_it(name):
    config = load_option("sampler", name)
    assert config["name"] == name
    assert config["steps"] >= 1


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "torch.load",
        "torch.nn.Linear",
        "multidiffx.Evil",
        "multidiff.configuration.hydra.utils.instantiate",  # out of the package through its imports
        "multidiff.sampling.pipeline.torch.load",
        "multidiff.data.files.Path",  # a class, but not ours
        "multidiff.data.files.sha256",  # ours, but not a class
        "multidiff.sampling.pipeline.Pipeline.sample",
        "multidiff.nowhere.Thing",
        "Pipeline",
        "",
    ],
)
def test_a_target_outside_the_allow_list_is_refused(target):
    with pytest.raises(InputError, match="the config names"):
        check_target(target)


def test_refusal_comes_before_any_import(tmp_path, monkeypatch):
    (tmp_path / "evil_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    nested = {"_target_": "multidiff.diffusion.objectives.Stratified", "of": [{"_target_": "evil_module.Evil"}]}
    with pytest.raises(InputError, match=r"'evil_module\.Evil', which is not allowed"):
        instantiate(nested)
    assert "evil_module" not in sys.modules


def test_an_interpolated_target_is_checked_too():
    config = OmegaConf.create({"a": "os.system", "b": {"_target_": "${a}", "command": "true"}})
    with pytest.raises(InputError, match=r"'os\.system'"):
        instantiate(config.b)


def test_an_unknown_argument_is_named():
    with pytest.raises(InputError, match=r"RectifiedFlow.*offset"):
        instantiate({"_target_": "multidiff.diffusion.schedules.RectifiedFlow", "offset": 0.1})


def test_a_partial_waits_for_the_rest_and_refuses_a_wrong_name_at_once():
    config = {"_target_": "multidiff.diffusion.samplers.DPMSolverSinglestep", "_partial_": True, "order": 3}
    schedule = Cosine()
    assert instantiate(config)(schedule) == DPMSolverSinglestep(schedule, 3)
    with pytest.raises(InputError, match=r"DPMSolverSinglestep.*stages"):
        instantiate({**config, "stages": 3})


def test_an_impossible_value_is_explained():
    with pytest.raises(InputError, match=r"RectifiedFlow: shift must be positive, got -1"):
        instantiate({"_target_": "multidiff.diffusion.schedules.RectifiedFlow", "shift": -1})


def test_an_unknown_option_lists_the_known_ones():
    with pytest.raises(InputError, match="no sampler is called 'fast'; there are: adaptive, "):
        load_option("sampler", "fast")


@pytest.mark.parametrize("text", ["*.tar", "{000..004}.tar", "a: b: c"])
def test_a_value_that_is_no_yaml_is_text(text):
    assert described("data", f"image_shards 'shards={text}' size=16")["shards"] == text
