"""Atomic files and folders: complete or absent."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path with the same suffix that becomes ``path`` when the block ends, and vanishes if it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _sync(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """A temporary folder that replaces ``path`` when the block ends, and vanishes if it fails.

    No file system swaps two folders everywhere, so for a moment ``path`` is absent and its old content beside it: see
    `surviving` and `heal`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    heal(path.parent, path.name)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-"))
    try:
        yield temporary
        for written in temporary.iterdir():
            _sync(written)
            written.chmod(0o666 & ~_umask())
        temporary.chmod(0o777 & ~_umask())
        if path.exists():
            path.replace(_old(path))
        temporary.replace(path)
        shutil.rmtree(_old(path), ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def surviving(path: Path) -> Path:
    """The content of ``path``, also if a process was killed while `atomic_directory` replaced it."""
    return _old(path) if not path.exists() and _old(path).exists() else path


def heal(folder: Path, *names: str) -> None:
    """Remove leftovers in ``folder`` of a process that was killed while it wrote files or folders of these ``names``.

    Only for a single writer: files that another process is writing would be taken for leftovers.
    """
    for leftover in [found for name in names for found in folder.glob(f".{name}-*")]:
        whole = leftover.with_name(leftover.name[1:].rpartition("-")[0])
        if leftover == _old(whole) and not whole.exists():
            leftover.replace(whole)
        elif leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


def _old(path: Path) -> Path:
    return path.with_name(f".{path.name}-old")


def sha256(path: Path) -> str:
    """The SHA-256 of a file's contents, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
