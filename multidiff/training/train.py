"""From a config to a trained model."""

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch.distributed as dist
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from multidiff.configuration import instantiate, resolved, target_class
from multidiff.data.dataset import Dataset
from multidiff.diffusion.losses import DiffusionLoss
from multidiff.errors import InputError
from multidiff.model import build_model
from multidiff.sampling import model_directory
from multidiff.sampling.pipeline import Pipeline
from multidiff.sampling.plan import Sampling
from multidiff.training.callbacks import Run, RunCallback, Throughput
from multidiff.training.checkpoints import AtomicCheckpointIO, Checkpoints
from multidiff.training.datamodule import DataModule
from multidiff.training.module import DiffusionModule
from multidiff.training.profile import StepProfiler
from multidiff.training.progress import Progress
from multidiff.training.run_directory import check_same_run, held, open_run, start_of
from multidiff.training.speed import Levers, decided_precision
from multidiff.training.stop import GracefulStop, Wish

KNOWN_WARNINGS = (
    ".*smaller than the logging interval.*",
    ".*does not have many workers.*",
    ".*module.s. in eval mode.*",  # the moving average is
    ".*your dataloader is not resumable.*",  # it starts at the trainer's step by itself
    ".*Experiment logs directory .* is not empty.*",  # the old metrics were moved aside
    ".*LeafSpec.*is deprecated.*",  # within Lightning
)
"""What Lightning says that is no concern of ours."""


LEVERS = ("compile", "channels_last")
"""Settings of the group ``trainer`` that are none of Lightning's."""

STRATEGIES = ("auto", "ddp")


@dataclass(frozen=True)
class Result:
    """What a run came to.

    Attributes:
        run_dir: where everything is; `multidiff.load` takes it.
        steps: optimiser steps done, those before a resume included.
        samples: training samples seen.
        finished: false if someone stopped it before its last step.
    """

    run_dir: Path
    steps: int
    samples: int
    finished: bool


def train(config: DictConfig) -> Result:
    """Train as ``config`` says, from the start or from the newest checkpoint.

    Raises:
        InputError: something in the config or in the data cannot be used. Nothing is written then.
    """
    for talkative in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    run_dir = Path(config.run_dir)
    _check_numbers(config)
    checkpoint = start_of(run_dir, config.resume)
    L.seed_everything(config.seed, verbose=False)
    dataset: Dataset = instantiate(config.data, modality=instantiate(config.modality))
    config = _informed_by(dataset, config)
    settings = _decided(resolved(config), run_dir if checkpoint else None)
    levers = Levers(**{name: settings["trainer"][name] for name in LEVERS})
    modality = instantiate(settings["modality"])
    module = _module(settings, modality)
    data: DataModule = instantiate(settings["loader"], dataset=dataset, seed=config.seed)
    sampling = Sampling(settings["sampler"], settings["guidance"])
    averaged = Pipeline(module.ema.model, modality, dataset.shape, sampling)  # type: ignore[arg-type]
    averaged.prepared(sampling)  # bad settings are refused before anything is written
    save = _saving(averaged, settings, dataset, module)
    export = partial(save, run_dir / "model", known={})
    checkpoints = Checkpoints(run_dir / "checkpoints", config.checkpoint_every, export)
    stop = GracefulStop(checkpoints.save)
    own = [Throughput(), Progress(), checkpoints, stop]
    callbacks = [*instantiate_all(config.callbacks), *own]
    conditions = _conditions(dataset, module.model.conditioner.reads)
    run = Run(averaged, conditions, dataset, settings["loader"]["holdout"], settings["seed"], run_dir, save)
    for callback in callbacks:
        if isinstance(callback, RunCallback):
            callback.attach(run)
    if checkpoint:
        check_same_run(run_dir, settings)
    levers.pull(module.model.denoiser.network)
    trainer = _trainer(
        {name: value for name, value in settings["trainer"].items() if name not in (*LEVERS, "profile")},
        profiler=_profiler(settings["trainer"]["profile"], module, run_dir),
        callbacks=callbacks,
        logger=instantiate_all(config.get("logger")),
        default_root_dir=run_dir,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        use_distributed_sampler=False,
        max_epochs=-1,
    )
    with held(run_dir) if is_first_process() else nullcontext():
        if is_first_process():
            open_run(run_dir, settings, checkpoint)
        _fit(trainer, module, data, checkpoint)
    finished = trainer.global_step >= trainer.max_steps or stop.wish == Wish.GO_ON
    return Result(run_dir, trainer.global_step, module.samples_seen, finished)


def _check_numbers(config: DictConfig) -> None:
    limits = {
        "seed": (0, 2**32 - 1),
        "checkpoint_every": (1, None),
        "warmup_steps": (0, None),
        "trainer.max_steps": (1, None),
        "trainer.accumulate_grad_batches": (1, None),
        "trainer.val_check_interval": (1, None),
    }
    for key, (low, high) in limits.items():
        value = OmegaConf.select(config, key)
        if not isinstance(value, int) or value < low or (high is not None and value > high):
            raise InputError(
                f"{key} must be a whole number of at least {low}{f' and at most {high}' if high else ''}, got {value}"
            )


def _decided(settings: dict[str, Any], run_dir: Path | None) -> dict[str, Any]:
    """``settings`` with what is left to the machine, or to the run in ``run_dir`` that is gone on with."""
    precision = decided_precision(settings["trainer"], run_dir)
    optimizer = dict(settings["optimizer"])
    if precision == "16-mixed" and optimizer.get("fused"):
        optimizer["fused"] = False  # it would take the scale off the gradients only after they are clipped
    return {**settings, "trainer": {**settings["trainer"], "precision": precision}, "optimizer": optimizer}


def _trainer(settings: dict[str, Any], **arguments: Any) -> L.Trainer:
    strategy = str(settings.get("strategy", "auto"))
    if strategy not in STRATEGIES:
        raise InputError(
            f"trainer.strategy must be one of {', '.join(STRATEGIES)}, got {strategy}: those that split the weights "
            "between devices do not fit, since their moving average is a whole copy that previews, validation and the "
            "saved model sample from"
        )
    clip = settings.get("gradient_clip_val")
    if isinstance(clip, int | float) and not clip >= 0:
        raise InputError(f"trainer.gradient_clip_val must be at least 0, which is for none, got {clip}")
    every = settings.get("val_check_interval")
    if isinstance(every, int):  # Lightning counts batches, of which a step may take several
        settings = {**settings, "val_check_interval": every * settings.get("accumulate_grad_batches", 1)}
    try:
        return instantiate(settings, plugins=[AtomicCheckpointIO()], **arguments)
    except (MisconfigurationException, ModuleNotFoundError) as error:  # some accelerators need packages
        raise InputError(f"trainer: {' '.join(str(error).split())}") from error


def _saving(
    averaged: Pipeline, settings: dict[str, Any], dataset: Dataset, module: DiffusionModule
) -> Callable[..., None]:
    """A function of a directory, the steps done and what else is ``known``, that writes the averaged model."""

    def save(directory: Path, step: int, known: Mapping[str, Any]) -> None:
        facts = {
            "data": type(dataset).__name__,
            "seed": settings["seed"],
            "holdout": settings["loader"]["holdout"],
            "steps": step,
            "samples_seen": module.samples_seen,
            **known,
        }
        model_directory.save(averaged, settings, directory, facts)

    return save


def _profiler(asked: bool, module: DiffusionModule, run_dir: Path) -> StepProfiler | None:
    if not isinstance(asked, bool):
        raise InputError(f"trainer.profile must be true or false, got {asked!r}")
    if not (asked and is_first_process()):
        return None
    profiler = StepProfiler(run_dir / "profile")
    profiler.watch(module.model.denoiser.network)
    return profiler


def instantiate_all(configs: Mapping[str, Any] | None) -> list[Any]:
    """One object for each named config of a group; a name set to null is left out."""
    return [instantiate(config) for config in (configs or {}).values() if config is not None]


def _informed_by(dataset: Dataset, config: DictConfig) -> DictConfig:
    """The config with what only the data can tell."""
    conditioner = target_class(config.conditioning)
    learned = conditioner.settings_from(dataset.label_names, dataset.captions or ())  # type: ignore[attr-defined]
    informed = config.copy()
    informed.conditioning = {**config.conditioning, **learned}
    informed.modality = {**config.modality, **dataset.modality_settings}
    return informed


def _module(settings: dict[str, Any], modality: Any) -> DiffusionModule:
    loss: DiffusionLoss = instantiate(settings["loss"])
    model = build_model(settings, modality)
    instantiate(settings["optimizer"], params=list(model.parameters()))  # refuses bad ones, before a run is begun
    return DiffusionModule(
        model,
        loss,
        instantiate(settings["ema"]),
        lambda parameters: instantiate(settings["optimizer"], params=list(parameters)),
        settings["warmup_steps"],
        settings["seed"],
        instantiate(settings["stability"]),
    )


def _conditions(dataset: Dataset, reads: str | None) -> Sequence[str | None]:
    choices: Sequence[str] | None = {"label": dataset.label_names, "caption": dataset.captions, None: None}[reads]
    return choices or [None]


def _fit(trainer: L.Trainer, module: DiffusionModule, data: DataModule, checkpoint: Path | None) -> None:
    with warnings.catch_warnings(), _environment_kept():
        for message in KNOWN_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        try:
            trainer.fit(module, data, ckpt_path=checkpoint, weights_only=False)
        except InputError as error:
            raise InputError(_without_traceback(str(error))) from error


def _without_traceback(message: str) -> str:
    """The message of an `InputError`, around which torch puts the traceback of the loader process that raised it."""
    return message.rstrip().rpartition("Error: ")[2] if "DataLoader worker process" in message else message


def is_first_process() -> bool:
    """Whether this is the one process of those that train together which writes and prints."""
    return not rank_zero_only.rank  # type: ignore[attr-defined]


@contextmanager
def _environment_kept() -> Iterator[None]:
    """What a launcher leaves behind would make the next training in this process take itself for a part of the last."""
    before, alone = dict(os.environ), not dist.is_initialized()
    yield
    os.environ.clear()
    os.environ.update(before)
    if alone and dist.is_initialized():
        dist.destroy_process_group()
