"""Checkpoints that are intact or absent, and the model directory that goes with them."""

import hashlib
import os
import re
import struct
from collections.abc import Callable, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO

from multidiff.data.files import atomic_path, surviving
from multidiff.errors import InputError
from multidiff.training.callbacks import step_done
from multidiff.weights import read_config

LOWEST = "lowest_loss"
"""Folder of a run with the model of the lowest validation loss."""

DIGEST = 64
"""Length of the checksum at the end of a checkpoint, in bytes."""

PARTS = {"state_dict", "optimizer_states", "global_step", "pytorch-lightning_version"}
"""What a checkpoint of Lightning holds, among others."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint under a temporary name, syncs it to the disk, then renames it.

    Raises:
        InputError: it cannot be written, for example because the disk is full; earlier ones are kept.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        try:
            with atomic_path(Path(path)) as temporary:
                torch.save(checkpoint, temporary)
                _seal(temporary)
        except (OSError, RuntimeError) as error:  # torch's own writer raises a RuntimeError
            reason = error.strerror if isinstance(error, OSError) else "the disk is full or cannot be written"
            raise InputError(
                f"{path} cannot be written: {reason}; earlier checkpoints are kept; fix this, then set resume=true"
            ) from error


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest intact checkpoint in ``folder``; None if there is no checkpoint.

    Raises:
        InputError: all checkpoints are damaged.
    """
    found = _by_step(folder)
    intact = next((path for path in found if is_intact(path)), None)
    if found and intact is None:
        raise InputError(f"every checkpoint in {folder} is damaged: copy one from elsewhere, or remove that folder")
    return intact


def set_aside_damaged(folder: Path, newest: Path | None) -> list[Path]:
    """Rename the damaged checkpoints newer than the ``newest`` intact one, and return their old names.

    Raises:
        InputError: one of them is intact, so another process has written it since ``newest`` was found.
    """
    damaged = list(takewhile(lambda path: path != newest, _by_step(folder)))
    if any(is_intact(path) for path in damaged):
        raise InputError(
            f"another process has trained in {folder.parent} meanwhile; the same command continues from there"
        )
    for path in damaged:
        path.replace(path.with_name(f"{path.name}.damaged"))
    return damaged


def is_intact(path: Path) -> bool:
    """Whether the checksum of ``path`` matches and it holds only tensors and plain values: no code to run."""
    try:
        with ZipFile(path) as archive:
            sealed = archive.comment == _digest(path) if archive.comment else archive.testzip() is None
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True) if sealed else None
        return isinstance(loaded, dict) and loaded.keys() >= PARTS
    except Exception:  # noqa: BLE001  whatever a damaged file makes the readers raise
        return False


def _seal(path: Path) -> None:
    """Put a checksum of a zip file into its comment, whose length is the last two bytes before it."""
    with path.open("r+b") as file:
        file.seek(-2, os.SEEK_END)
        file.write(struct.pack("<H", DIGEST))
        file.write(b"0" * DIGEST)
        file.flush()
        digest = _digest(path)
        file.seek(-DIGEST, os.SEEK_END)
        file.write(digest)


def _digest(path: Path) -> bytes:
    """The SHA-256 of all but the last `DIGEST` bytes, in hexadecimal."""
    left, hashed = path.stat().st_size - DIGEST, hashlib.sha256()
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(left, 2**20))):
            hashed.update(block)
            left -= len(block)
    return hashed.hexdigest().encode()


def _by_step(folder: Path) -> list[Path]:
    """The checkpoints of ``folder``, the latest step first."""
    steps = {path: match for path in folder.glob("step_*.ckpt") if (match := re.fullmatch(r"step_(\d+)", path.stem))}
    return sorted(steps, key=lambda path: int(steps[path][1]), reverse=True)


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
            for old in _by_step(self.folder)[2:]:
                old.unlink()
            self.export(self.run_dir / "model", trainer.global_step, {})
