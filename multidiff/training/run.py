"""A run: everything that the training of a diffusion model needs, built once from its settings."""

import copy
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from PIL.Image import Image
from torch import nn
from torch.optim import Optimizer

from multidiff.codecs import Codec
from multidiff.configuration import instantiate
from multidiff.data.dataset import Dataset, Unaugmented, drawn_rows
from multidiff.diffusion.objectives import Objective
from multidiff.errors import InputError, first_of, refusals
from multidiff.model import Model, build_model, in_force, informed, log_snr_range, resumed
from multidiff.sampling import few_step, model_directory
from multidiff.sampling.guidance import Guidance
from multidiff.sampling.lineage import lineage
from multidiff.sampling.pipeline import Pipeline
from multidiff.sampling.plan import Plan
from multidiff.sampling.sampler_config import chosen_sampler
from multidiff.sampling.seeds import Seeded
from multidiff.training.base_run import BaseRun, prepared
from multidiff.training.ema import Decay
from multidiff.training.fitting import fitted_backbone, fitted_batch, fitted_conditions
from multidiff.training.initial_weights import start_from
from multidiff.training.latents import cached_latents
from multidiff.training.memory import StepMemory, lack_of_memory, step_memory
from multidiff.training.module import DiffusionModule
from multidiff.training.origin import origin
from multidiff.training.settings import check_missing
from multidiff.training.speed import device_kind
from multidiff.training.stability import Stability
from multidiff.training.teacher import Teacher, check_guidance, known_codec, load_teacher
from multidiff.training.trainer import is_first_process, make_trainer

log = logging.getLogger(__name__)

SHOWN = 64
"""Samples of the data whose fields previews take in turn."""

SHOWN_VALUES = 5
"""Unknown classes, captions or numbers that a warning names."""

LARGE = 10_000
"""Positions of x0 from which a network on a CPU takes too long for a useful training."""


@dataclass
class Run(BaseRun):
    """The training of a diffusion model.

    Attributes:
        pipeline: samples the current averaged model.
    """

    module: DiffusionModule
    pipeline: Pipeline

    @property
    def networks(self) -> list[nn.Module]:
        return [self.module.model.denoiser.network]

    @property
    def partial(self) -> bool:
        return self.module.objective.partial

    @property
    def comparable(self) -> bool:
        return self.module.objective.comparable

    @property
    def obstacles(self) -> list[str]:
        count, kind = self.settings["loader"]["batch_size"], device_kind(self.settings["trainer"]["accelerator"])
        lack = lack_of_memory(self.memory, count, math.prod(self.pipeline.shape), kind)
        return [line for line in (self._lack_of_latents, lack) if line]

    @property
    def _lack_of_latents(self) -> str | None:
        shape, codec = self.pipeline.shape, self.module.model.codec
        if codec.lossy or math.prod(shape[1:]) < LARGE or device_kind(self.settings["trainer"]["accelerator"]) != "cpu":
            return None
        size = "x".join(map(str, shape))
        return (
            f"samples of {size} are large for a CPU: train a codec of your data first, then codec=learned "
            "codec.path=CODEC (docs/latents.md)"
        )

    def memory(self, batch_size: int) -> StepMemory | None:
        return step_memory(self.module, self.dataset, self.settings, batch_size)

    @cached_property
    def samples(self) -> Sequence[Mapping[str, Any]]:
        """Fields to request: each class, or those of random samples of the data, the same each time."""
        conditioner = self.module.model.conditioner
        if conditioner.reads == ("label",):
            return [{"label": name} for part in conditioner for name in part.choices]
        facts = [self.dataset.facts(row) for row in drawn_rows(len(self.dataset), SHOWN)]
        known = conditioner.known([conditioner.own(fact) for fact in facts])
        return [conditioner.quoted(sample) for sample in known]

    def plan(self, n: int, steps: int | None = None, samples: Sequence[Mapping[str, Any]] | None = None) -> Plan:
        """A plan for ``n`` samples of the averaged model.

        Args:
            n: number of samples.
            steps: of the sampler; its own by default.
            samples: fields, taken in turn; by default those of `samples`.
        """
        chosen = self.samples if samples is None else samples
        fields = tuple(chosen[row % len(chosen)] for row in range(n))
        own = {name: value for name, value in self.pipeline.sampler.items() if name != "speed"}  # weights change
        sampler = chosen_sampler(own, None, steps)
        guidance = Guidance(self.pipeline.guidance, field=self.pipeline.model.conditioner.guided)
        return Plan(self.pipeline, fields, sampler, guidance, Seeded(0), batch_size=self.pipeline.batch_size)

    def previewer(self, count: int) -> Callable[[], Image]:
        plan = self.plan(count)
        return lambda: self.modality.preview(list(plan.stream()))

    def save(self, directory: Path, step: int, facts: Mapping[str, Any] | None = None) -> None:
        teacher = self.module.teacher
        known = {"teacher": teacher.path, "teacher_sha256": teacher.sha256} if teacher else {}
        known |= self.settings["lineage"]
        model_directory.save(self.pipeline, self.settings, directory, self.facts(step) | known | dict(facts or {}))


def build(config: DictConfig | dict[str, Any]) -> Run:
    """Build everything that the training in ``config`` needs. Nothing is written.

    Raises:
        InputError: something in the config or in the data cannot be used.
    """
    if config.get("decoder_of") is not None:
        raise InputError("decoder_of trains the decoder of a codec: use it with experiment=codec/...")
    start = prepared(config)
    settings, dataset, modality = start.settings, start.dataset, start.modality
    given = {name: column for name, column in dataset.fields.items() if name not in dataset.measured}
    settings |= fitted_conditions(settings, start.before, given)
    check_missing(dataset.fields, settings["conditioning"], settings.get("max_missing", 1.0))
    objective = instantiate(Objective, settings["objective"])
    settings["guidance"] = few_step.default_guidance(objective.trained, settings["guidance"])
    settings["codec"] = known_codec(settings, start.before, objective)
    known = origin(settings, start.before).get("conditioning")
    learned = informed(settings, dataset.values, Unaugmented(dataset), known)
    kept = in_force(settings, learned, start.before or learned)
    kept["conditioning"] = resumed(kept["conditioning"], learned["conditioning"])
    if kept != learned and is_first_process():
        log.warning("the data have changed: training keeps the classes, vocabulary and statistics of the checkpoint")
    settings |= kept
    settings["backbone"] = _backbone(settings, start.before, dataset)
    if objective.inputs:
        settings["backbone"] = {**settings["backbone"], "inputs": list(objective.inputs)}
    settings["log_snr_range"] = _log_snr_range(settings, start.before)
    model = build_model(settings, tuple(dataset.shape))
    shape = model.codec.shape(tuple(dataset.shape))
    if start.checkpoint is None:
        start_from(model, settings, shape)
    encoded = cached_latents(model.codec, dataset, settings["data"].get("cache"))
    module = diffusion_module(settings, model, objective, shape, encoded is not None)
    check_guidance(objective, model, module.teacher, dataset.fields)
    settings["lineage"] = _lineage(settings, start.before)
    if module.teacher and is_first_process():
        _warn_of_unknown(module.teacher, dataset)
    settings["loader"] = fitted_batch(
        settings["loader"],
        (start.before or {}).get("loader"),
        shape,
        partial(step_memory, module, dataset, settings),
        device_kind(settings["trainer"]["accelerator"]),
    )
    pipeline = Pipeline(
        module.averaged,
        modality,
        shape,
        few_step.default_sampler(objective.trained, settings["sampler"]),
        settings["guidance"],
        modality_config=settings["modality"],
        trained=objective.trained,
    )
    start.settings = settings
    run = Run(**vars(start), module=module, datamodule=start.loader(encoded or dataset), pipeline=pipeline)
    run.plan(1)  # refuses sampling settings that cannot be used
    run.check_resume()
    run.trainer = make_trainer(run)
    return run


def _warn_of_unknown(teacher: Teacher, dataset: Dataset) -> None:
    """Tell of values in the data that the teacher does not know: it sees no condition there."""
    for field, unknown in teacher.conditioner.unknown(dataset.values).items():
        log.warning(
            "the teacher %s does not know the %s %s, and estimates these samples without it: train it further, with "
            "experiment=finetune init=%s",
            teacher.path,
            field,
            first_of(unknown, SHOWN_VALUES),
            teacher.path,
        )


def _lineage(settings: Mapping[str, Any], before: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the training starts with; a run that is resumed may not have it any more."""
    init, teacher = (None if settings.get(name) is None else str(settings[name]) for name in ("init", "teacher"))
    if before is None:
        return lineage(init, teacher, settings["codec"])
    return dict(before.get("lineage") or ({"init": init} if init else {}))


def _log_snr_range(settings: Mapping[str, Any], before: Mapping[str, Any] | None) -> list[float]:
    """The range of the log SNR in training, clamped to that of the model that it starts from; a resume keeps it."""
    if before:
        return list(log_snr_range(before))
    own, first = log_snr_range(settings), origin(settings, before)
    low, high = log_snr_range(first) if first else own
    return [min(max(end, low), high) for end in own]


def _backbone(settings: dict[str, Any], before: dict[str, Any] | None, dataset: Dataset) -> dict[str, Any]:
    if None not in settings["backbone"].values():
        return settings["backbone"]
    shape = instantiate(Codec, settings["codec"]).shape(tuple(dataset.shape))
    accelerated = device_kind(settings["trainer"]["accelerator"]) != "cpu"
    return fitted_backbone(settings["backbone"], (before or {}).get("backbone"), shape, len(dataset), accelerated)


def diffusion_module(
    settings: Mapping[str, Any], model: Model, objective: Objective, shape: tuple[int, ...], encoded: bool
) -> DiffusionModule:
    """What trains ``model`` with ``objective``, as the other ``settings`` say.

    Args:
        settings: of the training, complete.
        model: whose weights with a gradient train.
        objective: that they minimise.
        shape: of x0.
        encoded: whether the data are encoded already.

    Raises:
        InputError: the objective does not take the model, or a setting cannot be used.
    """
    teacher = load_teacher(settings, shape, objective)
    with refusals():
        objective.check(model.denoiser, teacher.denoiser if teacher else None, shape)
    fake_score = copy.deepcopy(model.denoiser) if objective.needs_fake_score else None
    parts = [part for part in (model, fake_score) if part is not None]
    trained = [weight for part in parts for weight in part.parameters() if weight.requires_grad]
    return DiffusionModule(
        model,
        objective,
        instantiate(Decay, settings["ema"]),
        instantiate(Optimizer, settings["optimizer"], params=trained),
        settings["warmup_steps"],
        settings["cooldown"],
        settings["seed"],
        instantiate(Stability, settings["stability"]),
        teacher,
        encoded,
        fake_score,
    )
