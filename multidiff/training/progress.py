"""How far training is, on the terminal."""

from typing import Any

import lightning as L
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

SHOWN = {"train/loss": "loss", "val/loss": "val", "train/samples_per_second": "samples/s"}
"""Logged values that the terminal shows, and what it calls them."""


class Progress(L.Callback):
    """A bar with losses and samples a second; without a terminal, a line after each validation."""

    def __init__(self) -> None:
        self.console = Console()
        self.bar: Bar | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not (self.console.is_terminal and trainer.is_global_zero):
            return
        text = TextColumn("{task.fields[metrics]}")
        columns = (TextColumn("step"), MofNCompleteColumn(), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        self.bar = Bar(*columns, text, console=self.console)
        self.bar.add_task("training", total=trainer.max_steps, completed=trainer.global_step, metrics="")
        self.bar.start()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *batch: Any) -> None:
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=trainer.global_step, metrics=_metrics(trainer))

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
