"""The training of a pretrained pipeline on further data, built once from its settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from multidiff.configuration import instantiate, resolved
from multidiff.data.dataset import Dataset
from multidiff.diffusion.objectives import Denoising, Objective
from multidiff.errors import InputError
from multidiff.pretrained import Opened, Tuning
from multidiff.sampling import model_directory
from multidiff.sampling.lineage import licence_of
from multidiff.sampling.pipeline import Pipeline
from multidiff.training.base_run import prepared
from multidiff.training.latents import cached_latents
from multidiff.training.run import Run, diffusion_module
from multidiff.training.teacher import check_guidance
from multidiff.training.trainer import make_trainer
from multidiff.training.tuning_data import tuning_data

OWN = ("codec", "backbone", "conditioning", "schedule", "prediction", "teacher", "init", "decoder_of")
"""Settings of other trainings, which here are those of the pipeline, or have no meaning."""


@dataclass
class TuningRun(Run):
    """The training of a pretrained pipeline.

    Attributes:
        tuning: says what of it trains.
    """

    tuning: Tuning

    def save(self, directory: Path, step: int, facts: Mapping[str, Any] | None = None) -> None:
        known = self.facts(step) | {"base": self.tuning.path, "base_sha256": self.tuning.digest}
        if licence := licence_of(self.tuning.source):
            known["base_licence"] = licence
        model_directory.save(self.pipeline, self.settings, directory, known | dict(facts or {}), self.tuning)


def build_tuning(config: DictConfig | dict[str, Any]) -> TuningRun:
    """Build everything that the training of the pretrained pipeline in ``config`` needs. Nothing is written.

    Raises:
        InputError: something in the config, the pipeline or the data cannot be used.
    """
    tuning, opened = _opened(config)
    start = prepared(config)
    settings = start.settings
    dataset = start.dataset = tuning_data(start.dataset, settings, start.modality)
    objective = instantiate(Objective, settings["objective"])
    if objective.inputs:
        raise InputError(f"this objective trains a network with the input {objective.inputs[0]}, which this one lacks")
    if opened.model.denoiser.masked and not isinstance(objective, Denoising):
        raise InputError("a network for inpainting trains by denoising: leave objective out, or give objective=min_snr")
    shape, *_ = [opened.model.codec.shape(each) for each in _shapes(dataset)]
    opened.model.denoiser = opened.model.denoiser.sized(shape)
    model = tuning.tuned(opened.model)
    encoded = cached_latents(model.codec, dataset, settings["data"].get("cache"))
    module = diffusion_module(settings, model, objective, shape, encoded is not None)
    check_guidance(objective, model, module.teacher, dataset.fields)
    pipeline = Pipeline(
        module.averaged,
        start.modality,
        shape,
        settings.get("sampler") or opened.sampler,
        opened.guidance if settings["guidance"] is None else settings["guidance"],
        modality_config=settings["modality"],
        trained=opened.trained,
    )
    loader = start.loader(encoded or dataset)
    run = TuningRun(**vars(start), module=module, datamodule=loader, pipeline=pipeline, tuning=tuning)
    run.plan(1)  # refuses sampling settings that cannot be used
    run.check_resume()
    run.trainer = make_trainer(run)
    return run


def _opened(config: DictConfig | dict[str, Any]) -> tuple[Tuning, Opened]:
    """The pipeline that ``config`` names, whose hash and size it is given where it leaves them open."""
    given = next((group for group in OWN if config.get(group)), None)
    if given:
        raise InputError(f"a pretrained pipeline has its own {given}: leave {given} out, with experiment=image/lora")
    settings = resolved(config) if isinstance(config, DictConfig) else config
    tuning = instantiate(Tuning, settings["tuning"])
    opened = tuning.open()
    config["tuning"].update({"path": str(tuning.source.absolute()), "sha256": tuning.digest})
    if "size" in settings["data"] and settings["data"]["size"] is None:
        config["data"]["size"] = list(opened.model.codec.data_shape(opened.shape)[1:])
    return tuning, opened


def _shapes(dataset: Dataset) -> list[tuple[int, ...]]:
    """The usual shape of the data, then those of all samples, if they differ."""
    others = [] if dataset.shapes is None else np.unique(dataset.shapes, axis=0).tolist()
    return [tuple(dataset.shape), *map(tuple, others)]
