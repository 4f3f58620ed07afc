"""Callbacks that are given their run: previews and throughput."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import lightning as L

from multidiff.data.files import atomic_path
from multidiff.errors import InputError
from multidiff.training.averaged import AveragedModule
from multidiff.training.loggers import log_picture

if TYPE_CHECKING:
    from multidiff.training.base_run import BaseRun

clock = time.monotonic
"""What budgets are measured with."""


def step_done(trainer: L.Trainer, batch_idx: int) -> bool:
    """Whether this batch completed an optimiser step, rather than a part of one."""
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0


class RunCallback(L.Callback):
    """A callback that is given its run before training.

    Attributes:
        every: steps between its work; 0 if it has none at regular steps.
        seconds: that this work took the last time; 0 if it is not measured.
    """

    every = 0
    seconds = 0.0

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Measure `seconds`."""
        since = clock()
        yield
        self.seconds = clock() - since

    def attach(self, run: "BaseRun") -> None:
        """Prepare the callback for ``run``.

        Raises:
            InputError: a setting cannot be used with this run.
        """
        raise NotImplementedError


class Previews(RunCallback):
    """Saves preview samples of the averaged model at regular steps, always from the same seeds.

    Args:
        every: steps between previews; 0 for none.
        count: samples a preview, at least 1.

    Raises:
        InputError: a number that cannot be used.
    """

    def __init__(self, every: int = 500, count: int = 16):
        if every < 0 or count < 1:
            raise InputError(f"callbacks.previews: every must be at least 0 and count at least 1, got {every}, {count}")
        self.every = every
        self.count = count

    def attach(self, run: "BaseRun") -> None:
        """Pictures go into ``RUN_DIR/previews``."""
        self.picture = run.previewer(self.count)
        self.folder = run.run_dir / "previews"

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        due = self.every and trainer.global_step % self.every == 0 and step_done(trainer, batch_idx)
        if due and trainer.is_global_zero:
            with self.timed():
                picture = self.picture()
            with atomic_path(self.folder / f"step_{trainer.global_step:08d}.png") as path:
                picture.save(path)
            for logger in trainer.loggers:
                log_picture(logger, "previews", picture, trainer.global_step)


class Throughput(L.Callback):
    """Logs the number of training samples and samples a second, over all processes, at regular steps."""

    def __init__(self, every: int = 50) -> None:
        self.every = every
        self.since = time.perf_counter()
        self.steps = self.samples = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: AveragedModule) -> None:  # type: ignore[override]
        self._start_counting(trainer, pl_module)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: AveragedModule,  # type: ignore[override]
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if trainer.global_step % self.every == 0 and trainer.global_step > self.steps:
            rate = (pl_module.samples_seen - self.samples) / (time.perf_counter() - self.since)
            pl_module.log("train/samples_per_second", rate)
            pl_module.log("train/samples", float(pl_module.samples_seen))
            self._start_counting(trainer, pl_module)

    def _start_counting(self, trainer: L.Trainer, module: AveragedModule) -> None:
        self.since, self.steps, self.samples = time.perf_counter(), trainer.global_step, module.samples_seen
