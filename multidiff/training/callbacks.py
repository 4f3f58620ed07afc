"""What a callback may know of its run; previews and speed."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L

from multidiff.data.dataset import Dataset
from multidiff.data.files import atomic_path
from multidiff.sampling.pipeline import Pipeline
from multidiff.training.loggers import log_picture
from multidiff.training.module import DiffusionModule


def step_done(trainer: L.Trainer, batch_idx: int) -> bool:
    """Whether this batch completed an optimiser step, rather than a part of one."""
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0


@dataclass(frozen=True)
class Run:
    """What callbacks may know of the run that they are part of.

    Attributes:
        pipeline: samples the averaged model as it is at the moment.
        conditions: labels or captions of the data that the model can be asked for; one None without any.
        dataset: the training data.
        holdout: fraction of it that is held out.
        seed: that chose which.
        run_dir: of the run.
        save: writes the averaged model into a folder, with the step and further facts.
    """

    pipeline: Pipeline
    conditions: Sequence[str | None]
    dataset: Dataset
    holdout: float
    seed: int
    run_dir: Path
    save: Callable[[Path, int, Mapping[str, Any]], None]


class RunCallback(L.Callback):
    """A callback that is told of its run before training."""

    def attach(self, run: Run) -> None:
        """Take from ``run`` what is needed."""
        raise NotImplementedError


class Previews(RunCallback):
    """Samples the averaged model now and then, always from the same seeds.

    Args:
        every: steps between previews; 0 for none.
        count: samples a preview.
    """

    def __init__(self, every: int = 500, count: int = 16):
        self.every = every
        self.count = count
        self.pipeline: Pipeline | None = None
        self.folder = Path()
        self.conditions: list[str | None] = []

    def attach(self, run: Run) -> None:
        """Sample what the run trains, under its conditions in turn; pictures go into ``RUN_DIR/previews``."""
        self.pipeline = run.pipeline
        self.conditions = [run.conditions[i % len(run.conditions)] for i in range(self.count)]
        self.folder = run.run_dir / "previews"

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        due = self.every and trainer.global_step % self.every == 0 and step_done(trainer, batch_idx)
        if due and trainer.is_global_zero and self.pipeline:
            artifacts = list(self.pipeline.stream(self.conditions, self.pipeline.sampling))
            picture = self.pipeline.modality.preview(artifacts)
            with atomic_path(self.folder / f"step_{trainer.global_step:08d}.png") as path:
                picture.save(path)
            for logger in trainer.loggers:
                log_picture(logger, "previews", picture, trainer.global_step)


class Throughput(L.Callback):
    """Logs samples seen and samples a second, over all processes, every so many steps."""

    def __init__(self, every: int = 50) -> None:
        self.every = every
        self.since = time.perf_counter()
        self.steps = self.samples = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: DiffusionModule) -> None:  # type: ignore[override]
        self._start_counting(trainer, pl_module)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: DiffusionModule,  # type: ignore[override]
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if trainer.global_step % self.every == 0 and trainer.global_step > self.steps:
            rate = (pl_module.samples_seen - self.samples) / (time.perf_counter() - self.since)
            pl_module.log("train/samples_per_second", rate)
            pl_module.log("train/samples", float(pl_module.samples_seen))
            self._start_counting(trainer, pl_module)

    def _start_counting(self, trainer: L.Trainer, module: DiffusionModule) -> None:
        self.since, self.steps, self.samples = time.perf_counter(), trainer.global_step, module.samples_seen
