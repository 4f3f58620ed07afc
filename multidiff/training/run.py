"""A run: everything that a training needs, built once from its settings."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import lightning as L
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig
from torch.optim import Optimizer

from multidiff.configuration import instantiate, resolved
from multidiff.data.dataset import Dataset, Unaugmented
from multidiff.diffusion.objectives import Objective
from multidiff.errors import InputError
from multidiff.modality import Modality
from multidiff.model import build_model, in_force, informed
from multidiff.sampling import model_directory
from multidiff.sampling.guidance import Guidance
from multidiff.sampling.pipeline import Pipeline
from multidiff.sampling.plan import Plan
from multidiff.sampling.sampler_config import chosen_sampler
from multidiff.sampling.seeds import Seeded
from multidiff.training.budget import UNKNOWN, Budget, seconds_of
from multidiff.training.callbacks import RunCallback, Throughput
from multidiff.training.checkpoints import AtomicCheckpointIO, Checkpoints
from multidiff.training.datamodule import DataModule
from multidiff.training.ema import Decay
from multidiff.training.module import DiffusionModule
from multidiff.training.profile import StepProfiler
from multidiff.training.progress import Progress
from multidiff.training.run_directory import check_same_run, read_settings, run_directory, start_of
from multidiff.training.settings import SPEED_SETTINGS, check_numbers, decided
from multidiff.training.speed import SpeedSettings
from multidiff.training.stability import Stability
from multidiff.training.stop import GracefulStop
from multidiff.training.teacher import load_teacher

T = TypeVar("T")

log = logging.getLogger(__name__)

SHOWN = 64
"""Samples of the data whose fields previews take in turn."""

STRATEGIES = ("auto", "ddp")


@dataclass
class Run:
    """The objects of a training, as `build` makes them; callbacks may use them.

    Attributes:
        settings: resolved, including those that follow from the data and the machine.
        run_dir: directory of the run.
        checkpoint: to resume from; None at the start.
        dataset: the training data.
        module: the model, its average and its optimiser.
        pipeline: samples the current averaged model.
        datamodule: loads the data.
        trainer: Lightning's.
        stop: ends training on a signal.
    """

    settings: dict[str, Any]
    run_dir: Path
    checkpoint: Path | None
    dataset: Dataset
    module: DiffusionModule
    pipeline: Pipeline
    datamodule: DataModule
    stop: GracefulStop = field(init=False)
    trainer: L.Trainer = field(init=False)

    @property
    def seed(self) -> int:
        """Of the split, the noise and everything else."""
        return self.settings["seed"]

    @property
    def holdout(self) -> float:
        """Fraction of the data that is held out."""
        return self.settings["loader"]["holdout"]

    @cached_property
    def samples(self) -> Sequence[Mapping[str, Any]]:
        """Fields to request: each class, or those of samples spread evenly over the data."""
        conditioner = self.module.model.conditioner
        if conditioner.reads == ("label",):
            return [{"label": name} for part in conditioner for name in part.choices]
        step = -(-len(self.dataset) // SHOWN)
        facts = [self.dataset.facts(row) for row in range(0, len(self.dataset), step)]
        known = conditioner.known([{name: fact[name] for name in conditioner.reads} for fact in facts])
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
        sampler = chosen_sampler(self.pipeline.sampler, None, steps)
        return Plan(self.pipeline, fields, sampler, Guidance(self.pipeline.guidance), Seeded(0))

    def save(self, directory: Path, step: int, facts: Mapping[str, Any] | None = None) -> None:
        """Write the averaged model into ``directory``, with the step and further facts about its training."""
        teacher = self.module.teacher
        known = {
            "data": type(self.dataset).__name__,
            "seed": self.seed,
            "holdout": self.holdout,
            "steps": step,
            "samples_seen": self.module.samples_seen,
            **({"teacher": teacher.path, "teacher_sha256": teacher.sha256} if teacher else {}),
            **(facts or {}),
        }
        model_directory.save(self.pipeline, self.settings, directory, known)


def build(config: DictConfig | dict[str, Any]) -> Run:
    """Build everything that the training in ``config`` needs. Nothing is written.

    Raises:
        InputError: something in the config or in the data cannot be used.
    """
    for talkative in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    run_dir = run_directory(config["run_dir"])
    config["run_dir"] = str(run_dir)  # of which loggers make their folders
    settings = resolved(config) if isinstance(config, DictConfig) else dict(config)
    check_numbers(settings)
    checkpoint = start_of(run_dir, settings["resume"])
    L.seed_everything(settings["seed"], verbose=False)
    modality = instantiate(Modality, settings["modality"])
    dataset = instantiate(Dataset, settings["data"], modality=modality)
    before = read_settings(run_dir) if checkpoint else None
    settings = decided(settings, before)
    learned = informed(settings, dataset.values, Unaugmented(dataset))
    kept = in_force(settings, learned, before or learned)
    if kept != learned and is_first_process():
        log.warning("the data have changed: the classes, words and statistics of the checkpoint stay in force")
    settings |= kept
    module = _module(settings, dataset)
    averaged = module.ema.model
    shape = averaged.codec.shape(tuple(dataset.shape))  # type: ignore[operator]
    pipeline = Pipeline(
        averaged,  # type: ignore[arg-type]
        modality,
        shape,
        settings["sampler"],
        settings["guidance"],
        modality_config=settings["modality"],
    )
    datamodule = instantiate(DataModule, settings["loader"], dataset=dataset, seed=settings["seed"])
    run = Run(settings, run_dir, checkpoint, dataset, module, pipeline, datamodule)
    run.plan(1)  # refuses sampling settings that cannot be used
    if checkpoint:
        check_same_run(run_dir, settings)
    SpeedSettings(**{name: settings["trainer"][name] for name in SPEED_SETTINGS}).apply(module.model.denoiser.network)
    run.trainer = _trainer(run)
    return run


def instantiate_all(kind: type[T], configs: Mapping[str, Any] | None) -> list[T]:
    """One object for each named config of a group; a name set to null is left out."""
    return [instantiate(kind, config) for config in (configs or {}).values() if config is not None]


def is_first_process() -> bool:
    """Whether this is the process that writes and prints."""
    return not rank_zero_only.rank  # type: ignore[attr-defined]


def _module(settings: dict[str, Any], dataset: Dataset) -> DiffusionModule:
    objective = instantiate(Objective, settings["objective"])
    model = build_model(settings, tuple(dataset.shape))
    shape = model.codec.shape(tuple(dataset.shape))
    teacher = load_teacher(settings["teacher"], shape, settings["codec"], objective.needs_teacher)
    return DiffusionModule(
        model,
        objective,
        instantiate(Decay, settings["ema"]),
        instantiate(Optimizer, settings["optimizer"], params=list(model.parameters())),
        settings["warmup_steps"],
        settings["seed"],
        instantiate(Stability, settings["stability"]),
        teacher,
    )


def _callbacks(run: Run) -> list[L.Callback]:
    checkpoints = Checkpoints(
        run.run_dir / "checkpoints", run.settings["checkpoint_every"], partial(run.save, run.run_dir / "model")
    )
    run.stop = GracefulStop(checkpoints.save)
    budget = run.settings["budget"]
    callbacks = [
        *([] if budget is None else [Budget(seconds_of(budget))]),
        *instantiate_all(L.Callback, run.settings["callbacks"]),
        Throughput(),
        Progress(),
        checkpoints,
        run.stop,
    ]
    for callback in callbacks:
        if isinstance(callback, RunCallback):
            callback.attach(run)
    return callbacks


def _trainer(run: Run) -> L.Trainer:
    settings = {name: value for name, value in run.settings["trainer"].items() if name not in SPEED_SETTINGS}
    profile = settings.pop("profile")
    if run.settings["budget"] is not None:
        settings["max_steps"] = UNKNOWN
    strategy = str(settings.get("strategy", "auto"))
    if strategy not in STRATEGIES:
        raise InputError(
            f"trainer.strategy must be one of {', '.join(STRATEGIES)}, got {strategy}: the moving average of the "
            "weights is one copy, so weights cannot be split between devices"
        )
    clip = settings.get("gradient_clip_val")
    if isinstance(clip, int | float) and not clip >= 0:
        raise InputError(f"trainer.gradient_clip_val must be at least 0, which turns clipping off, got {clip}")
    every = settings.get("val_check_interval")
    if isinstance(every, int):  # Lightning counts batches, of which a step may take several
        settings["val_check_interval"] = every * settings.get("accumulate_grad_batches", 1)
    try:
        return instantiate(
            L.Trainer,
            settings,
            plugins=[AtomicCheckpointIO()],
            profiler=_profiler(profile, run),
            callbacks=_callbacks(run),
            logger=instantiate_all(Logger, run.settings["logger"]),
            default_root_dir=run.run_dir,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            use_distributed_sampler=False,
            max_epochs=-1,
        )
    except (MisconfigurationException, ModuleNotFoundError) as error:  # some accelerators need packages
        raise InputError(f"trainer: {' '.join(str(error).split())}") from error


def _profiler(enabled: bool, run: Run) -> StepProfiler | None:
    if not isinstance(enabled, bool):
        raise InputError(f"trainer.profile must be true or false, got {enabled!r}")
    if not (enabled and is_first_process()):
        return None
    profiler = StepProfiler(run.run_dir / "profile")
    profiler.watch(run.module.model.denoiser.network)
    return profiler
