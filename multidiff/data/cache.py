"""A cache of decoded files in one memory map: later epochs and later runs read no source file again.

A store is identified by the contents of the source files, in order, and the settings of their preparation. Moving or
renaming files does not invalidate it; changing one creates another store.

::

    CACHE/<key>/                 a store
    CACHE/contents/<root>.json   content hashes of known files, and the state of the files at that time
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from multidiff.data.decoding import decode_all
from multidiff.data.files import sha256
from multidiff.data.progress import progress
from multidiff.data.scan import first_few, name_in, nothing_readable
from multidiff.data.store import Store, write_store
from multidiff.errors import InputError
from multidiff.modality import Preparation

_FORMAT = 2
"""Stores of another format have other keys."""

_ABANDONED = 3600
"""Seconds without a byte written after which a build counts as killed."""

_CHECKED = 4
"""Files of unchanged state that are read all the same, to find those whose content changed nevertheless."""

_CHECKED_SIZE = 2**24
"""Bytes of such a file, at most."""


log = logging.getLogger(__name__)


def decoded(
    paths: Sequence[Path],
    preparation: Preparation,
    *,
    root: Path,
    kind: str,
    max_unreadable: int,
    cache: Path | None = None,
) -> Store:
    """The prepared arrays of ``paths``, from the cache if they are there.

    Files that cannot be decoded are left out, and named in a warning each time, as are the remarks of the preparation.

    Args:
        paths: below ``root``.
        preparation: makes an array of a file, all of one type and number of axes.
        kind: of the files, for messages: "image".
        max_unreadable: how many files may be left out.
        cache: folder of the stores; by default that of the user.

    Raises:
        InputError: no file, or too few, can be decoded, or the cache cannot be written.
    """
    cache = cache or default_cache()
    folder = cache / _key(paths, _content_hashes(root, paths, cache), preparation.settings)
    if not _usable(folder):
        arrays = progress(decode_all(preparation, paths), len(paths), "Decoding {} files")
        _build(folder, arrays, paths, preparation.remarks)
    store = Store(folder)
    for remark in store.remarks:
        log.warning("%s/: %s", root, remark)
    reasons = {name_in(root, paths[i]): reason for i, reason in store.skipped.items()}
    if not len(store):
        raise nothing_readable(kind, root, reasons)
    summary = f"{len(reasons)} of {len(paths)} {kind} files in {root}/ cannot be read ({first_few(reasons)})"
    if len(reasons) > max_unreadable:
        raise InputError(f"{summary}: remove them, or set data.max_unreadable to at least {len(reasons)}")
    if reasons:
        log.warning("%s: left out", summary)
    return store


def generated(
    arrays: Iterable[np.ndarray | InputError], count: int, settings: Mapping[str, Any], *, cache: Path | None = None
) -> Store:
    """``arrays``, from the cache if they are there; else they are made now.

    Args:
        arrays: made while they are iterated over; all of one type and number of axes.
        count: how many, at least 1.
        settings: everything that the arrays depend on; JSON.
        cache: as for `decoded`.

    Raises:
        InputError: the cache cannot be written.
    """
    folder = (cache or default_cache()) / _key([], [], {**settings, "count": count})
    if not _usable(folder):
        _build(folder, progress(arrays, count, "Making {} samples"))
    return Store(folder)


def default_cache() -> Path:
    """``$MULTIDIFF_CACHE``, or ``multidiff`` in the user's cache folder.

    Raises:
        InputError: the user has no home directory.
    """
    try:
        if chosen := os.environ.get("MULTIDIFF_CACHE"):
            return Path(chosen).expanduser()
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "multidiff"
    except RuntimeError as error:
        raise InputError("there is no home directory for the cache: set MULTIDIFF_CACHE to a folder") from error


def _key(paths: Sequence[Path], hashes: Sequence[str], settings: Mapping[str, Any]) -> str:
    sources = [(path.suffix.lower(), content) for path, content in zip(paths, hashes, strict=True)]
    return hashlib.sha256(json.dumps([_FORMAT, settings, sources], sort_keys=True).encode()).hexdigest()


def _usable(folder: Path) -> bool:
    """Whether there is a store ``folder``. One that is damaged, or not `Store.final`, is removed."""
    if not folder.exists():
        return False
    try:
        if Store(folder).final:
            return True
    except InputError as error:
        log.warning("%s: rebuilding it", str(error).removesuffix("; delete that folder"))
    with writing_to(folder.parent):
        shutil.rmtree(folder)
    return False


def _build(
    folder: Path,
    arrays: Iterable[np.ndarray | InputError],
    paths: Sequence[Path] = (),
    remarks: Callable[[], Iterable[str]] = tuple,
) -> None:
    """Write ``arrays`` into the store ``folder``, which is created atomically."""
    with writing_to(folder.parent), tempfile.TemporaryDirectory(prefix="building-", dir=folder.parent) as temporary:
        _sweep(folder.parent)
        part = Path(temporary) / folder.name
        part.mkdir()
        write_store(part, arrays, paths, remarks)
        try:
            part.rename(folder)
        except OSError:
            if not folder.exists():  # else another process was faster
                raise


def _sweep(cache: Path) -> None:
    """Remove leftovers of killed builds."""
    for data in cache.glob("building-*/*/data.bin"):
        with suppress(FileNotFoundError):  # another process may sweep too
            if time.time() - data.stat().st_mtime > _ABANDONED:
                shutil.rmtree(data.parents[1], ignore_errors=True)


def _content_hashes(root: Path, paths: Sequence[Path], cache: Path) -> list[str]:
    """The content hash of each file; only new and changed files are read."""
    index = cache / "contents" / f"{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]}.json"
    known = _read_index(index)
    if not _still_true(root, paths, known):
        known = {}
    current = {
        name_in(root, path): _seen(path, known.get(name_in(root, path)))
        for path in progress(paths, len(paths), "Hashing {} files")
    }
    if any(known.get(name) != seen for name, seen in current.items()):
        with writing_to(index.parent), tempfile.TemporaryDirectory(dir=index.parent) as temporary:
            part = Path(temporary) / index.name
            part.write_text(json.dumps(known | current))
            part.replace(index)
    return [content for *_, content in current.values()]


def _read_index(index: Path) -> dict[str, list[Any]]:
    try:
        known = json.loads(index.read_text())
    except (OSError, ValueError, RecursionError):  # it only saves time
        return {}
    return known if isinstance(known, dict) else {}


def _seen(path: Path, before: Any) -> list[Any]:
    """State and content hash of a file; for an unreadable file, the hash of the reason."""
    try:
        state = _state(path)
        if isinstance(before, list) and before[:-1] == state and isinstance(before[-1], str):
            return before
        return [*state, sha256(path)]
    except OSError as error:
        return [-1, hashlib.sha256(str(error.strerror).encode()).hexdigest()]


def _state(path: Path) -> list[int]:
    """What changes with the content: tools that keep size and modification time do not keep the others."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _still_true(root: Path, paths: Sequence[Path], known: Mapping[str, Any]) -> bool:
    """Whether a few files in known states have their known contents, as on any reliable file system."""
    for path in paths[:: max(1, len(paths) // _CHECKED)][:_CHECKED]:
        before = known.get(name_in(root, path))
        with suppress(OSError):
            if path.stat().st_size <= _CHECKED_SIZE and _seen(path, before) == before and before[-1] != sha256(path):
                log.warning("%s changed, but its modification time did not: rereading all files of %s/", path, root)
                return False
    return True


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Make ``folder``; errors while writing to it become an `InputError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise InputError(f"cannot write the cache {folder}: {error.strerror}; set MULTIDIFF_CACHE elsewhere") from error
