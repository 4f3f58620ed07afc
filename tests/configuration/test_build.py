"""Configs name only what may be built, and every shipped one builds."""

import sys
from functools import cache

import pytest
from lightning import Callback
from lightning.pytorch.loggers import Logger
from omegaconf import OmegaConf
from torch import nn

from modalities.image.data import Digits
from multidiff.codecs import Codec
from multidiff.configuration import check_target, compose, described, group_options, instantiate, load_option, resolved
from multidiff.diffusion.objectives import Objective, TimeDistribution
from multidiff.diffusion.predictions import Prediction
from multidiff.diffusion.samplers import DPMSolverSinglestep, Sampler
from multidiff.diffusion.schedules import Cosine, Schedule
from multidiff.errors import InputError
from multidiff.training.ema import Decay
from tests.tiny import fast_compose

OBJECTIVES = "multidiff.diffusion.objectives"

KINDS = {
    "schedule": Schedule,
    "prediction": Prediction,
    "objective": Objective,
    "codec": Codec,
    "ema": Decay,
    "logger": Logger,
    "callbacks": Callback,
}

OPTIONS = {group: group_options(group) for group in KINDS}


@cache
def composed(number):
    """A config with one option of each group: the one of this number, of as many as there are."""
    chosen = {group: names[number % len(names)] for group, names in OPTIONS.items()}
    needed = ["codec.path=nowhere"] if chosen["codec"] == "learned" else []  # building reads no file
    return compose([*(f"{group}={name}" for group, name in chosen.items()), *needed])


def test_values_that_are_set_after_composition_are_those_of_hydra():
    """What spares the other tests most of the time of composition."""
    overrides = [
        "experiment=image/digits",
        "ema=constant",
        "+optimizer.amsgrad=true",
        "resume=auto",
        "optimizer.lr=1e-2",
    ]
    overrides += ["backbone.widths=[8,40]", "callbacks.previews.every=0", "optimizer._target_=torch.optim.Adam"]
    fast, slow = (OmegaConf.to_container(made(overrides)) for made in (fast_compose, compose))
    assert fast == slow


@pytest.mark.parametrize(("group", "name"), [(group, name) for group, names in OPTIONS.items() for name in names])
def test_every_shipped_option_builds(group, name, tmp_path):
    if name in ("wandb", "mlflow"):
        pytest.importorskip(name)
    config = OmegaConf.merge(composed(OPTIONS[group].index(name)), {"run_dir": str(tmp_path)})
    option = resolved(config)[group]
    for part in [option] if "_target_" in option else option.values():
        assert isinstance(instantiate(KINDS[group], part), KINDS[group])


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
    nested = {"_target_": f"{OBJECTIVES}.Stratified", "of": {"_target_": "evil_module.Evil"}}
    with pytest.raises(InputError, match=r"'evil_module\.Evil', which is not allowed"):
        instantiate(TimeDistribution, nested)
    assert "evil_module" not in sys.modules


DATA = {"_target_": "modalities.image.data.Digits"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (DATA, "'modalities.image.data.Digits' where an Objective belongs"),
        ({"_target_": f"{OBJECTIVES}.Denoising", "times": DATA}, "where a TimeDistribution belongs"),
        ({"_target_": f"{OBJECTIVES}.Denoising", "unknown": DATA}, "unexpected keyword argument 'unknown'"),
        ({"_target_": f"{OBJECTIVES}.Denoising", "times": [DATA]}, "times must be the _target_ of a TimeDistribution"),
        ({"_target_": f"{OBJECTIVES}.Denoising", "times": {"_target_": 3}}, "times cannot hold an object"),
        ({"_target_": f"{OBJECTIVES}.Denoising", "_partial_": True}, "without _partial_"),
        ({"of": DATA}, "expected the _target_ of an Objective"),
        (None, "expected the _target_ of an Objective"),
    ],
)
def test_a_place_takes_objects_of_its_kind_only(config, message, monkeypatch):
    monkeypatch.setattr(Digits, "__init__", lambda self, modality=None: pytest.fail("built"))
    with pytest.raises(InputError, match=message):
        instantiate(Objective, config)


@pytest.mark.parametrize("widths", [{"_target_": "modalities.image.data.Digits"}, [DATA, DATA], [{"a": DATA}]])
def test_a_backbone_cannot_hold_a_data_set(widths, monkeypatch):
    monkeypatch.setattr(Digits, "__init__", lambda self, modality=None: pytest.fail("built"))
    with pytest.raises(InputError, match="UNet: widths"):
        instantiate(nn.Module, {**load_option("backbone", "unet_small"), "widths": widths}, channels=1)


@pytest.mark.parametrize(("name", "value"), [("widths", 3), ("widths", ["a"]), ("head_size", "x"), ("blocks", None)])
def test_settings_have_the_declared_types(name, value):
    with pytest.raises(InputError, match=f"UNet: {name}.* must be"):
        instantiate(nn.Module, {**load_option("backbone", "unet_small"), name: value}, channels=1)


@pytest.mark.parametrize("settings", [{"widths": [8, 16]}, {"widths": [64, 24], "head_size": 16}])
def test_widths_without_whole_heads_name_the_setting(settings):
    config = {**load_option("backbone", "unet_small"), "blocks": [1, 1], "attention": [False, True], **settings}
    with pytest.raises(InputError, match=r"cannot be divided into heads of .* set head_size .* backbone\.head_size=\d"):
        instantiate(nn.Module, config, channels=1)


def test_an_unknown_argument_is_named():
    with pytest.raises(InputError, match=r"RectifiedFlow.*offset"):
        instantiate(Schedule, {"_target_": "multidiff.diffusion.schedules.RectifiedFlow", "offset": 0.1})


def test_a_partial_waits_for_the_rest_and_refuses_a_wrong_name_at_once():
    restart = load_option("sampler", "restart")["method"]
    inner = {"_target_": "multidiff.diffusion.samplers.DPMSolverSinglestep", "_partial_": True, "order": 3}
    schedule = Cosine()
    sampler = instantiate(Sampler, {**restart, "method": inner}, schedule=schedule)
    assert sampler.method(schedule) == DPMSolverSinglestep(schedule, 3)
    with pytest.raises(InputError, match=r"DPMSolverSinglestep.*stages"):
        instantiate(Sampler, {**restart, "method": {**inner, "stages": 3}}, schedule=schedule)


def test_an_impossible_value_is_explained():
    with pytest.raises(InputError, match=r"RectifiedFlow: shift must be positive, got -1"):
        instantiate(Schedule, {"_target_": "multidiff.diffusion.schedules.RectifiedFlow", "shift": -1})


def test_an_unknown_option_lists_the_known_ones():
    with pytest.raises(InputError, match="no sampler is called 'fast'; there are: adaptive, "):
        load_option("sampler", "fast")


@pytest.mark.parametrize("text", ["*.tar", "{000..004}.tar", "a: b: c"])
def test_a_value_that_is_no_yaml_is_text(text):
    assert described("data", f"image_shards 'shards={text}' size=16")["shards"] == text
