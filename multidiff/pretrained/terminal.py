"""Zero terminal SNR for pipelines that were trained without it: Lin et al. (2023), https://arxiv.org/abs/2305.08891."""

import inspect
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from multidiff.configuration import read_json
from multidiff.diffusion.predictions import Velocity
from multidiff.errors import InputError
from multidiff.model import Model
from multidiff.pretrained.denoiser import UNetDenoiser
from multidiff.pretrained.libraries import library
from multidiff.pretrained.parts import Opened

log = logging.getLogger(__name__)

MARKS = {"modelspec.prediction_type": "v", "ss_zero_terminal_snr": "True"}
"""In the metadata of a LoRA that was trained so; kohya's scripts write the same."""

SETTINGS = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
"""Of a scheduler of diffusers."""


def rescaled(opened: Opened, path: str) -> Opened:
    """A pipeline with betas that are rescaled to zero terminal SNR, which predicts v and starts at noise alone.

    Args:
        opened: the pipeline.
        path: of it, for messages.

    Raises:
        InputError: it has that already.
    """
    denoiser = opened.model.denoiser
    if not isinstance(denoiser, UNetDenoiser) or denoiser.schedule.alpha(torch.ones(())) == 0:
        raise InputError(f"{path} has zero terminal SNR already: leave tuning.zero_terminal_snr out")
    if not isinstance(denoiser.prediction, Velocity):
        log.warning("the pretrained network predicts noise and must learn to predict v, which takes thousands of steps")
    opened.model.denoiser = denoiser.with_zero_terminal_snr()
    grid = {"_target_": "multidiff.diffusion.grids.Trailing", "train_steps": denoiser.schedule.count}
    return replace(opened, sampler={**opened.sampler, "grid": grid})


def write_rescaled(folder: Path) -> None:
    """Give the scheduler of a folder of diffusers zero terminal SNR; one that lacks the setting becomes DDIM."""
    file, index_file = folder / "scheduler" / "scheduler_config.json", folder / "model_index.json"
    config = with_its_class({**read_json(file), **SETTINGS})
    index = dict(read_json(index_file))
    if index["scheduler"] != (entry := ["diffusers", config["_class_name"]]):
        index_file.write_text(json.dumps(index | {"scheduler": entry}, indent=2) + "\n", "utf-8")
    file.write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def with_its_class(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a scheduler; its class becomes DDIM if it is to have zero terminal SNR, and its own has no such."""
    kind = getattr(library("diffusers"), config["_class_name"])
    known = "rescale_betas_zero_snr" in inspect.signature(kind.__init__).parameters
    other = bool(config.get("rescale_betas_zero_snr")) and not known
    return {**config, "_class_name": "DDIMScheduler"} if other else dict(config)


def refuse_unmarked(model: Model, path: Path) -> None:
    """Refuse a LoRA that was trained here with zero terminal SNR for a model that is sampled otherwise.

    Raises:
        InputError: it was.
    """
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
    marked = all(metadata.get(name) == value for name, value in MARKS.items())
    if marked and not isinstance(model.denoiser.prediction, Velocity):
        raise InputError(
            f"{path} was trained to predict v with zero terminal SNR: give a MODEL that does so, such as its run"
        )
