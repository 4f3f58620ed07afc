"""What every training has: settings, data, a module and a trainer."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
from omegaconf import DictConfig
from PIL.Image import Image
from torch import nn

from multidiff.codecs import Codec
from multidiff.configuration import instantiate, resolved
from multidiff.data.dataset import Dataset
from multidiff.errors import InputError
from multidiff.modality import Modality
from multidiff.training.averaged import AveragedModule
from multidiff.training.datamodule import DataModule
from multidiff.training.fitting import fitted_length, fitted_warmup
from multidiff.training.memory import StepMemory
from multidiff.training.origin import adopted
from multidiff.training.run_directory import (
    check_same_run,
    check_same_shape,
    read_settings,
    run_directory,
    start_of,
)
from multidiff.training.settings import REQUIRED, check_blocks, check_numbers, check_present, check_share, decided
from multidiff.training.stop import GracefulStop


@dataclass
class Prepared:
    """What a training starts with.

    Attributes:
        settings: resolved, including those that follow from the machine.
        before: of the run that is resumed; None at the start.
        run_dir: directory of the run.
        checkpoint: to resume from; None at the start.
        modality: of the data.
        dataset: the training data.
    """

    settings: dict[str, Any]
    before: dict[str, Any] | None
    run_dir: Path
    checkpoint: Path | None
    modality: Modality[Any]
    dataset: Dataset

    def loader(self, dataset: Dataset) -> DataModule:
        """Loads ``dataset``, which has a sample for each of the training data."""
        return instantiate(DataModule, self.settings["loader"], dataset=dataset, seed=self.settings["seed"])


@dataclass
class BaseRun(Prepared, ABC):
    """The objects of a training; callbacks may use them.

    Attributes:
        module: the model, its average and its optimiser.
        datamodule: loads the data.
        trainer: Lightning's.
        stop: ends training on a signal.
    """

    module: AveragedModule
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

    @property
    @abstractmethod
    def networks(self) -> list[nn.Module]:
        """The networks that take most of the time of a step."""

    @property
    def partial(self) -> bool:
        """Whether there are steps in which some of the trained weights have no gradient."""
        return False

    @property
    def comparable(self) -> bool:
        """Whether losses of different steps measure the same, and a lower one is better."""
        return True

    @property
    def obstacles(self) -> list[str]:
        """What stands in the way of a good model within reasonable time, other than the data."""
        return []

    @property
    def own_callbacks(self) -> list[L.Callback]:
        """Callbacks of every run of this kind."""
        return []

    @abstractmethod
    def memory(self, batch_size: int) -> StepMemory | None:
        """What a step of ``batch_size`` samples is expected to need; None if that is unknown."""

    @abstractmethod
    def previewer(self, count: int) -> Callable[[], Image]:
        """Makes pictures of ``count`` results of the averaged model, always of the same seeds and data."""

    @abstractmethod
    def save(self, directory: Path, step: int, facts: Mapping[str, Any] | None = None) -> None:
        """Write the averaged model into ``directory``, with the step and further facts about its training."""

    def facts(self, step: int) -> dict[str, Any]:
        """What a model directory says about the training after ``step`` steps."""
        return {
            "data": type(self.dataset).__name__,
            "seed": self.seed,
            "holdout": self.holdout,
            "steps": step,
            "samples_seen": self.module.samples_seen,
        }

    def check_resume(self) -> None:
        """Refuse to resume with settings under which the weights, or the held-out data, would differ.

        Raises:
            InputError: such a setting has changed.
        """
        if self.checkpoint:
            check_same_run(self.run_dir, self.settings)


def prepared(config: DictConfig | dict[str, Any]) -> Prepared:
    """The settings, the data and the checkpoint of the training in ``config``. Nothing is written.

    Raises:
        InputError: something in the config or in the data cannot be used.
    """
    for talkative in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    run_dir = run_directory(config["run_dir"])
    config["run_dir"] = str(run_dir)  # of which loggers make their folders
    settings = resolved(config) if isinstance(config, DictConfig) else config
    check_present(settings, REQUIRED)
    check_blocks(settings)
    checkpoint = start_of(run_dir, settings["resume"])
    before = read_settings(run_dir) if checkpoint else None
    settings = adopted(fitted_warmup(fitted_length(settings, before), before), before)
    check_present(settings, ["modality"])  # which the first model may have given
    check_numbers(settings)
    check_share("cooldown", settings.setdefault("cooldown", 0.0))  # which runs of earlier versions have not
    L.seed_everything(settings["seed"], verbose=False)
    if before:
        check_same_run(run_dir, settings, ["modality"])  # before the data are prepared in vain
    modality = instantiate(Modality, settings["modality"])
    if settings.get("codec"):
        instantiate(Codec, settings["codec"]).require(settings["modality"])  # before the data are prepared in vain
    dataset = instantiate(Dataset, settings["data"], modality=modality)
    if dataset.shapes is not None and not settings.get("tuning"):
        raise InputError("data.buckets: only pretrained pipelines train on pictures of several shapes; leave it out")
    settings["data_shape"] = list(dataset.shape) if dataset.shapes is None else None  # buckets follow the files
    if before:
        check_same_shape(run_dir, before, settings, modality.settings_for(dataset.shape))
    return Prepared(decided(settings, before), before, run_dir, checkpoint, modality, dataset)
