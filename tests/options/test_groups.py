"""Every option of every config group trains for two steps by the command.

Each run takes one option of each group, so there are as many runs as the largest group has options. The options come
from the config tree: a new one cannot be forgotten.
"""

import importlib.util
import math
from pathlib import Path

import pytest

from multidiff.configuration import group_options
from tests.conditioners.encoders import bert
from tests.options.commands import few_steps, installed, run, succeed, train
from tests.options.tiny_data import MODALITIES, settings

pytestmark = pytest.mark.slow

NEEDS = {"mlflow": "mlflow", "wandb": "wandb", "schedule_free": "schedulefree", "adamw_8bit": "bitsandbytes"}
MISSING = {
    name: group
    for group in ("optimizer", "logger")
    for name in group_options(group)
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None
}
"""Options whose package is not installed here, with their group."""

GROUPS = ("schedule", "prediction", "objective", "ema", "trainer", "optimizer", "logger")
WIDE = "muon"
"""Needs matrices that the tiny backbones lack, so it has a run of its own."""

DISTRIBUTED = ("ddp", "slurm")
"""Join processes for as long as they run, so each has a run of its own by the installed command."""

IN_SWEEPS = ("cpu_ddp",)
"""A trainer of two processes, which tests/cli/test_train.py starts by the command, twice in a sweep."""

APART = (*MISSING, WIDE, *DISTRIBUTED, *IN_SWEEPS)
FREE = {group: [name for name in group_options(group) if name not in APART] for group in GROUPS}
"""Options that go with any option of the other groups; so does a ``sampler``, of which each run uses two."""

CONDITIONING = {
    "image": ["label", "none", "found"],
    "audio": ["[label,seconds]", "none", "seconds"],
    "shape": ["label", "none"],
}
UNLABELLED = ("emoji", "emoji_scenes")
TEXT = ("text", "text_pretrained", "text_static", "words")
EVALUATION = (
    "callbacks.evaluation.every=2",
    "callbacks.evaluation.samples=20",
    "callbacks.evaluation.steps=1",
)
ENVIRONMENT = {"SLURM_NTASKS_PER_NODE": "1", "SLURM_JOB_NUM_NODES": "1", "WANDB_MODE": "offline"}
DATA = tuple(settings(Path()))
ELSEWHERE = ("furniture_distances", "mesh_distances")
"""Data of codecs of shapes, which tests/modalities/shape/test_shape_codec.py trains on."""
BACKBONES_ELSEWHERE = ("unet_diffusers",)
"""Takes some schedules alone: tests/pretrained/test_trained.py trains it."""

SAMPLERS = [name for name in group_options("sampler") if name != "mean_flow"]
"""Those of any model; `mean_flow` needs the objective of that name, which is tested with it."""

TAUGHT = ("distillation", "distribution_matching", "guided_distillation", "lcm", "progressive_distillation")
FEW_STEP = ("consistency", "consistency_continuous", "mean_flow", *TAUGHT)
RUNS = max(len(DATA), math.ceil(len(SAMPLERS) / 2), *map(len, FREE.values()))


def base(data, option, number):
    """Data, and what depends on its modality."""
    modality, own = data[option]
    parts = MODALITIES[modality]
    backbone = parts["backbone"][number % len(parts["backbone"])]
    codec = parts["codec"][number % len(parts["codec"])]
    conditioning = CONDITIONING[modality][number % len(CONDITIONING[modality])]
    if "seconds" in conditioning and option != "audio_folder":
        conditioning = "label"
    if conditioning == "label" and option in UNLABELLED:
        conditioning = "none"
    groups = [f"modality={modality}", f"data={option}", f"backbone={backbone[0]}", f"codec={codec}"]
    return [*groups, f"conditioning={conditioning}", *parts["settings"], *own, *backbone[1:], *few_steps(option)]


def test_every_option_is_in_a_run():
    """And every data option has tiny data, every backbone and codec a modality."""
    assert {*DATA, *ELSEWHERE} == set(group_options("data"))
    backbones = {name for part in MODALITIES.values() for name, *_ in part["backbone"]}
    assert backbones | {*BACKBONES_ELSEWHERE} == set(group_options("backbone"))
    assert {name for part in MODALITIES.values() for name in part["codec"]} | {"learned"} == set(group_options("codec"))
    conditioning = {name for texts in CONDITIONING.values() for text in texts for name in text.strip("[]").split(",")}
    assert conditioning | set(TEXT) == set(group_options("conditioning"))


@pytest.mark.parametrize("number", range(RUNS))
def test_one_option_of_each_group(number, data, teacher, tmp_path):
    option = DATA[number % len(DATA)]
    overrides = base(data, option, number)
    chosen = {group: names[number % len(names)] for group, names in FREE.items()}
    chosen["sampler"], other = (SAMPLERS[(2 * number + i) % len(SAMPLERS)] for i in (0, 1))
    if chosen["objective"] in TAUGHT:
        chosen["schedule"] = "cosine"  # the teacher's
        overrides.append(f"teacher={teacher(option, overrides)}")
    if chosen["objective"] in FEW_STEP:
        chosen["prediction"] = "velocity"  # others are no map to x0
    if chosen["objective"] == "mean_flow":
        chosen["sampler"] = "mean_flow"
    train(tmp_path, [*overrides, *(f"{group}={name}" for group, name in chosen.items()), "run_dir=run"], **ENVIRONMENT)
    assert list((tmp_path / "run" / "previews").glob("*.png"))
    succeed(tmp_path, "sample", "run", "-n", 1, "--steps", 1, "--sampler", other, "--out", "out")


def test_muon_on_wider_layers(data, tmp_path):
    train(tmp_path, [*base(data, "digits", 0), "backbone.widths=[40,40]", f"optimizer={WIDE}", "run_dir=run"])


@pytest.mark.parametrize("trainer", DISTRIBUTED)
def test_distributed_training_by_the_installed_command(trainer, data, tmp_path):
    overrides = [*base(data, "digits", 0), f"trainer={trainer}", "run_dir=run"]
    done = installed(tmp_path, "train", *overrides, **ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "run" / "model").is_dir()


@pytest.mark.parametrize("name", MISSING)
def test_an_option_whose_package_is_missing_is_refused_in_one_line(name, data, tmp_path):
    done = run(tmp_path, "train", *base(data, "digits", 0), f"{MISSING[name]}={name}", "run_dir=run")
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    assert f"needs the package {NEEDS[name]}" in done.stderr


@pytest.mark.parametrize(("option", "features"), [("digits", "encoder"), ("furniture", "point_encoder")])
def test_evaluation_in_training(option, features, data, tmp_path):
    """The option `snapshots` is trained in test_commands.py."""
    assert {"evaluation", "default", "snapshots"} == set(group_options("callbacks"))
    settings = [*EVALUATION, f"callbacks.evaluation.features='{features} steps=5'"]
    count = ["data.count=48"] if option == "furniture" else []
    train(tmp_path, [*base(data, option, 0), "callbacks=evaluation", *count, *settings, "run_dir=run"])


@pytest.mark.parametrize("text", TEXT)
def test_captions_condition_a_model_and_check_overfit_ends(text, data, tmp_path):
    path = [f"conditioning.caption.path={bert(tmp_path / 'bert')}"] if text == "text_pretrained" else []
    overrides = [*base(data, "image_folder", 0), f"conditioning={text}", *path, "check=overfit", "optimizer.lr=1e-2"]
    train(tmp_path, [*overrides, "callbacks.learns_one_batch.fraction=0.95", "trainer.max_steps=2000", "run_dir=run"])
