"""Files of checkpoints: which there are, and which of them are intact."""

import hashlib
import os
import re
import struct
from itertools import takewhile
from pathlib import Path
from zipfile import ZipFile

import torch

from multidiff.errors import InputError

DIGEST = 64
"""Length of the checksum at the end of a checkpoint, in bytes."""

PARTS = {"state_dict", "optimizer_states", "global_step", "pytorch-lightning_version"}
"""What a checkpoint of Lightning holds, among others."""


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest intact checkpoint in ``folder``; None if there is no checkpoint.

    Raises:
        InputError: all checkpoints are damaged.
    """
    found = by_step(folder)
    intact = next((path for path in found if is_intact(path)), None)
    if found and intact is None:
        raise InputError(f"every checkpoint in {folder} is damaged: restore one from a backup, or remove that folder")
    return intact


def set_aside_damaged(folder: Path, newest: Path | None) -> list[Path]:
    """Rename the damaged checkpoints newer than the ``newest`` intact one, and return their old names.

    Raises:
        InputError: one of them is intact, so another process has written it since ``newest`` was found.
    """
    damaged = list(takewhile(lambda path: path != newest, by_step(folder)))
    if any(is_intact(path) for path in damaged):
        raise InputError(
            f"another process has written checkpoints in {folder.parent} meanwhile; run the same command again"
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


def seal(path: Path) -> None:
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


def by_step(folder: Path) -> list[Path]:
    """The checkpoints of ``folder``, the latest step first."""
    steps = {path: match for path in folder.glob("step_*.ckpt") if (match := re.fullmatch(r"step_(\d+)", path.stem))}
    return sorted(steps, key=lambda path: int(steps[path][1]), reverse=True)
