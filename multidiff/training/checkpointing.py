"""Writes checkpoints that are intact or absent, and the model directory that goes with them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO

from multidiff.data.files import atomic_path, surviving
from multidiff.errors import InputError
from multidiff.training.callbacks import step_done
from multidiff.training.checkpoints import by_step, seal
from multidiff.weights import LOWEST, read_config


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint under a temporary name, syncs it to the disk, then renames it.

    Raises:
        InputError: it cannot be written, for example because the disk is full; earlier ones are kept.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        try:
            with atomic_path(Path(path)) as temporary:
                torch.save(checkpoint, temporary)
                seal(temporary)
        except (OSError, RuntimeError) as error:  # torch's own writer raises a RuntimeError
            reason = error.strerror if isinstance(error, OSError) else "the disk is full or cannot be written"
            raise InputError(
                f"{path} cannot be written: {reason}; earlier checkpoints are kept; fix this, then set resume=true"
            ) from error


class Checkpoints(L.Callback):
    """Keeps the two newest checkpoints, the model of the newest, and the model of the lowest validation loss.

    Args:
        run_dir: of the run.
        every: steps between checkpoints; the last step is always saved.
        export: writes a model directory, from its path, the step and further facts.
        lowest: whether the model of the lowest validation loss is kept.
    """

    def __init__(
        self, run_dir: Path, every: int, export: Callable[[Path, int, Mapping[str, Any]], None], lowest: bool = True
    ):
        self.run_dir = run_dir
        self.folder = run_dir / "checkpoints"
        self.every = every
        self.export = export
        self.keeps_lowest = lowest
        self.best = float("inf")
        self.saved: int | None = None

    def state_dict(self) -> dict[str, Any]:
        """Not empty, since Lightning calls `load_state_dict` only then."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The lowest loss is that of the folder: a checkpoint may be older than the validation of its step."""
        lowest = surviving(self.run_dir / LOWEST)
        if lowest.exists():  # older runs had no such folder
            self.best = read_config(lowest)["training"]["val_loss"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.saved = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if step_done(trainer, batch_idx) and trainer.global_step % self.every == 0:
            self.save(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        score = float(trainer.callback_metrics["val/loss"])
        if self.keeps_lowest and not trainer.sanity_checking and score < self.best:
            self.best = score
            if trainer.is_global_zero:
                self.export(self.run_dir / LOWEST, trainer.global_step, {"val_loss": score})

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.save(trainer)

    def save(self, trainer: L.Trainer, *, alone: bool = False) -> None:
        """Save the current step, unless it is already saved; the previous checkpoint is kept as a fallback.

        Args:
            trainer: of the training.
            alone: whether not to wait for other processes, which may not come.
        """
        if self.saved == trainer.global_step:
            return
        self.saved = trainer.global_step
        path = self.folder / f"step_{trainer.global_step:08d}.ckpt"
        if alone:  # `Trainer.save_checkpoint` without its barrier
            checkpoint = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
            trainer.strategy.save_checkpoint(checkpoint, path)
        else:
            trainer.save_checkpoint(path, weights_only=False)
        if trainer.is_global_zero:
            for old in by_step(self.folder)[2:]:
                old.unlink()
            self.export(self.run_dir / "model", trainer.global_step, {})
