"""Lightning's trainer, with the callbacks of a run."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import lightning as L
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from multidiff.configuration import instantiate
from multidiff.errors import InputError
from multidiff.training.budget import UNKNOWN, Budget, seconds_of
from multidiff.training.callbacks import RunCallback, Throughput
from multidiff.training.checkpointing import AtomicCheckpointIO, Checkpoints
from multidiff.training.memorisation import Memorisation
from multidiff.training.profile import StepProfiler
from multidiff.training.progress import Progress
from multidiff.training.settings import SPEED_SETTINGS
from multidiff.training.speed import SpeedSettings
from multidiff.training.stop import GracefulStop

if TYPE_CHECKING:
    from multidiff.training.base_run import BaseRun

T = TypeVar("T")

STRATEGIES = ("auto", "ddp")


def instantiate_all(kind: type[T], configs: Mapping[str, Any] | None) -> list[T]:
    """One object for each named config of a group; a name set to null is left out."""
    return [instantiate(kind, config) for config in (configs or {}).values() if config is not None]


def is_first_process() -> bool:
    """Whether this is the process that writes and prints."""
    return not rank_zero_only.rank  # type: ignore[attr-defined]


def make_trainer(run: "BaseRun") -> L.Trainer:
    """Lightning's trainer of a run, with its callbacks; its networks are made fast.

    Raises:
        InputError: a setting of the trainer cannot be used.
    """
    speed = SpeedSettings(**{name: run.settings["trainer"][name] for name in SPEED_SETTINGS})
    for network in run.networks:
        speed.apply(network)
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
    if strategy == "ddp" and run.partial:
        settings["strategy"] = "ddp_find_unused_parameters_true"
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


def _callbacks(run: "BaseRun") -> list[L.Callback]:
    checkpoints = Checkpoints(run.run_dir, run.settings["checkpoint_every"], run.save, run.comparable)
    run.stop = GracefulStop(checkpoints.save)
    budget = run.settings["budget"]
    callbacks = [
        *([] if budget is None else [Budget(seconds_of(budget))]),
        *instantiate_all(L.Callback, run.settings["callbacks"]),
        *run.own_callbacks,
        Throughput(),
        *([Memorisation(run.run_dir)] if run.comparable else []),
        Progress(),
        checkpoints,
        run.stop,
    ]
    for callback in callbacks:
        if isinstance(callback, RunCallback):
            callback.attach(run)
    return callbacks


def _profiler(enabled: bool, run: "BaseRun") -> StepProfiler | None:
    if not isinstance(enabled, bool):
        raise InputError(f"trainer.profile must be true or false, got {enabled!r}")
    if not (enabled and is_first_process()):
        return None
    profiler = StepProfiler(run.run_dir / "profile")
    for network in run.networks:
        profiler.watch(network)
    return profiler
