"""How far training is, on the terminal."""

import time
from typing import Any

import lightning as L
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

SHOWN = {"train/loss": "loss", "val/loss": "val", "train/samples_per_second": "samples/s"}
"""Logged values that the terminal shows, and what it calls them."""


UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
"""Seconds."""

FIRST = 10
"""Steps after which the length of training is known well enough to tell it and to plan by it."""


def duration(seconds: float) -> str:
    """``seconds`` as a person says it, such as ``2.5 h``."""
    unit = next((unit for unit in ("d", "h", "m") if seconds >= 2 * UNITS[unit]), "s")
    return f"{seconds / UNITS[unit]:.3g} {'min' if unit == 'm' else unit}"


class Pace(L.Callback):
    """Measures seconds a step, without the first one, which is slower.

    Args:
        steps: to measure.

    Attributes:
        seconds: a step; 0 until it is measured.
    """

    def __init__(self, steps: int = FIRST):
        self.steps, self.seconds = steps, 0.0
        self.started = 0
        self.since = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.started = trainer.global_step

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *batch: Any) -> None:
        done = trainer.global_step - self.started
        if done == 1 and not self.since:
            self.since = time.perf_counter()
        elif done == self.steps and not self.seconds:
            self.seconds = (time.perf_counter() - self.since) / (self.steps - 1)


class Progress(Pace):
    """A bar with losses and samples a second; without a terminal, lines: the time left, each validation."""

    def __init__(self) -> None:
        super().__init__()
        self.console = Console()
        self.bar: Bar | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        if not (self.console.is_terminal and trainer.is_global_zero):
            return
        text = TextColumn("{task.fields[metrics]}")
        columns = (TextColumn("step"), MofNCompleteColumn(), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        self.bar = Bar(*columns, text, console=self.console)
        self.bar.add_task("training", total=trainer.max_steps, completed=trainer.global_step, metrics="")
        self.bar.start()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *batch: Any) -> None:
        known = bool(self.seconds)
        super().on_train_batch_end(trainer, pl_module, *batch)
        if self.bar is None and self.seconds and not known and trainer.is_global_zero:
            left = self.seconds * (trainer.max_steps - trainer.global_step)
            self.console.print(
                f"{duration(self.seconds)} a step; {trainer.max_steps:,} steps, about {duration(left)} left"
            )
        if self.bar is not None:
            done, total = trainer.global_step, trainer.max_steps
            self.bar.update(self.bar.task_ids[0], completed=done, total=total, metrics=_metrics(trainer))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.bar is None and trainer.is_global_zero and not trainer.sanity_checking:
            self.console.print(f"step {trainer.global_step} of {trainer.max_steps}: {_metrics(trainer)}")

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


def _metrics(trainer: L.Trainer) -> str:
    values = trainer.callback_metrics
    return "  ".join(f"{short} {values[name]:.4g}" for name, short in SHOWN.items() if name in values)
