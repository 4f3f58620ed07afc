"""Checkpoints that are whole or absent, and the model directory that goes with them."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO

from multidiff.files import atomic_path

BEST = "best.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its name, syncs it to the disk, then gives it its name."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        with atomic_path(Path(path)) as temporary:
            torch.save(checkpoint, temporary)


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of the latest step in ``folder``, if there is any."""
    found = {
        int(match[1]): path for path in folder.glob("step_*.ckpt") if (match := re.fullmatch(r"step_(\d+)", path.stem))
    }
    return found[max(found)] if found else None


class Checkpoints(L.Callback):
    """Keeps the two newest checkpoints and the one of the lowest validation loss.

    Args:
        folder: where checkpoints go.
        every: steps between checkpoints; the last step is always saved.
        export: called with the step after each newest checkpoint, to bring the model directory up to date.
    """

    def __init__(self, folder: Path, every: int, export: Callable[[int], None]):
        self.folder = folder
        self.every = every
        self.export = export
        self.best = float("inf")
        self.saved: int | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.saved = trainer.global_step

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *batch: Any) -> None:
        if trainer.global_step % self.every == 0:
            self.save(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        score = float(trainer.callback_metrics["val/loss"])
        if not trainer.sanity_checking and score < self.best:
            self.best = score
            trainer.save_checkpoint(self.folder / BEST, weights_only=False)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.save(trainer)

    def save(self, trainer: L.Trainer) -> None:
        """Save the present step, unless it is saved already, and keep one checkpoint before it, should this be bad."""
        if self.saved == trainer.global_step:
            return
        self.saved = trainer.global_step
        path = self.folder / f"step_{trainer.global_step:08d}.ckpt"
        trainer.save_checkpoint(path, weights_only=False)
        if trainer.is_global_zero:
            for old in sorted(self.folder.glob("step_*.ckpt"))[:-2]:
                old.unlink()
            self.export(trainer.global_step)
