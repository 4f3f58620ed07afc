"""Files and folders that are complete or absent, and files that others name.

A file is written as ``.NAME-XXXXXXXX.partial.SUFFIX`` beside its place; only names of exactly this form are removed.
"""

import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TextIO

from multidiff.errors import DiskFullError, InputError

PARTIAL = ".partial"
_LEFTOVER = re.compile(rf"\.(?P<name>.+)-(?:[a-z0-9_]{{8}}|previous)\{PARTIAL}(?:\.[^.]+)?", re.DOTALL)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path with the same suffix that becomes ``path`` when the block ends, and vanishes if it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=f"{PARTIAL}{path.suffix}")
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
def new_file(path: Path) -> Iterator[Path]:
    """`atomic_path`, for a file that a person asked for.

    Raises:
        DiskFullError: there is no space left for it.
        InputError: it cannot be written for another reason.
    """
    try:
        with full_disk_told(path.parent), atomic_path(path) as part:
            yield part
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def full_disk_told(folder: Path) -> Iterator[None]:
    """What fails in the block for lack of space in ``folder`` is a `DiskFullError`."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFullError(f"the disk is full: there is no space left in {folder}") from error


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """A temporary folder that replaces ``path`` when the block ends, and vanishes if it fails.

    No file system swaps two folders everywhere, so for a moment ``path`` is absent and its old content beside it: see
    `surviving` and `heal`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    heal(path.parent, path.name)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-", suffix=PARTIAL))
    try:
        yield temporary
        for written in temporary.rglob("*"):
            _sync(written)
            written.chmod((0o777 if written.is_dir() else 0o666) & ~_umask())
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
    for leftover in folder.glob(".*") if folder.is_dir() else ():
        match = _LEFTOVER.fullmatch(leftover.name)
        if not match or not any(fnmatchcase(match["name"], name) for name in names):
            continue
        whole = leftover.with_name(match["name"])
        if leftover == _old(whole) and not whole.exists():
            leftover.replace(whole)
        elif leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


def member(root: Path, name: Any) -> Path:
    """The file below ``root`` that data call ``name``.

    Raises:
        InputError: the name leads out of ``root``, or names something else than a regular file.
    """
    if not isinstance(name, str) or not name or "\0" in name:
        raise InputError(f"{root}: {name!r} is not the name of a file")
    path = root / name
    if ".." in path.parts[len(root.parts) :] or not path.resolve().is_relative_to(root.resolve()):
        raise InputError(f"{name!r} points outside {root}; only files inside it are read")
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is not a regular file")
    return path


def open_unlinked(path: Path) -> TextIO:
    """``path`` opened to read and append; a link is not followed, so that no other file is written.

    Raises:
        OSError: it is a link, or cannot be opened.
    """
    return open(path, "a+", encoding="utf-8", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o666))


def _old(path: Path) -> Path:
    return path.with_name(f".{path.name}-previous{PARTIAL}")


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
