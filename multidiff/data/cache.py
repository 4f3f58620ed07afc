"""A cache of decoded files in one memory map: later epochs and later runs read no source file again.

A store is identified by the contents of the source files, in order, and the settings of their preparation. Moving or
renaming files does not invalidate it; changing one creates another store.

::

    CACHE/<key>/data.bin         the arrays, one after another
    CACHE/<key>/index.npz        their shapes and type, and which sources were left out, and why
    CACHE/contents/<root>.json   content hashes of known files, by size and modification time
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
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np
from rich.console import Console
from rich.progress import track

from multidiff.data.scan import first_few, name_in, nothing_readable
from multidiff.errors import InputError
from multidiff.modality import Preparation

_FORMAT = 2
"""Stores of another format have other keys."""

_MANY = 500
"""From this many files on, progress is shown."""

_ABANDONED = 3600
"""Seconds without a byte written after which a build counts as killed."""

Source = TypeVar("Source")
"""What an array is made from: a file, or a number."""

log = logging.getLogger(__name__)


class Store:
    """Arrays of one type and any shapes, read-only, in a memory map. Pickled by its folder, never by its contents.

    Attributes:
        key: hex hash of contents and settings.
        shapes: of the arrays, ``(N, D)``.
        kept: index of the source of each array, ``(N,)``.
        skipped: sources that could not be decoded, and why.

    Raises:
        InputError: the store is missing or damaged.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.key = folder.name
        try:
            with np.load(folder / "index.npz") as index:
                self.shapes, self.kept, dtype = index["shapes"], index["kept"], index["type"].dtype
                self.skipped: dict[int, str] = dict(
                    zip(index["skipped"].tolist(), index["reasons"].tolist(), strict=True)
                )
            self._ends = np.cumsum(self.shapes.prod(axis=1, dtype=np.int64))
            self._data = np.memmap(folder / "data.bin", dtype, "r", shape=(self._ends[-1],)) if len(self) else None
        except (OSError, EOFError, BadZipFile, ValueError, KeyError) as error:
            raise InputError(f"the cache {folder} is damaged ({error}); delete that folder") from error

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, index: int) -> np.ndarray:
        shape, end = self.shapes[index], self._ends[index]
        assert self._data is not None
        return np.asarray(self._data[end - shape.prod() : end].reshape(shape))

    def __reduce__(self) -> tuple[type["Store"], tuple[Path]]:
        return Store, (self.folder,)


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

    Files that cannot be decoded are left out, and named in a warning each time.

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
    if not folder.exists():
        _build(folder, paths, preparation.prepare, "Decoding {} files")
        for remark in preparation.remarks():
            log.warning("%s/: %s", root, remark)
    store = Store(folder)
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
    count: int, make: Callable[[int], np.ndarray], settings: Mapping[str, Any], *, cache: Path | None = None
) -> Store:
    """The arrays ``make(0)`` to ``make(count - 1)``, from the cache if they are there.

    Args:
        count: how many, at least 1.
        make: a pure function; its arrays are all of one type and number of axes.
        settings: everything that the result of ``make`` depends on; JSON.
        cache: as for `decoded`.

    Raises:
        InputError: the cache cannot be written.
    """
    folder = (cache or default_cache()) / _key([], [], {**settings, "count": count})
    if not folder.exists():
        _build(folder, range(count), make, "Making {} samples")
    return Store(folder)


def default_cache() -> Path:
    """``$MULTIDIFF_CACHE``, or ``multidiff`` in the user's cache folder."""
    if chosen := os.environ.get("MULTIDIFF_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "multidiff"


def _key(paths: Sequence[Path], hashes: Sequence[str], settings: Mapping[str, Any]) -> str:
    sources = [(path.suffix.lower(), content) for path, content in zip(paths, hashes, strict=True)]
    return hashlib.sha256(json.dumps([_FORMAT, settings, sources], sort_keys=True).encode()).hexdigest()


def _build(folder: Path, sources: Sequence[Source], decode: Callable[[Source], np.ndarray], doing: str) -> None:
    """Decode ``sources`` into the store ``folder``, which is created atomically."""
    with writing_to(folder.parent), tempfile.TemporaryDirectory(prefix="building-", dir=folder.parent) as temporary:
        _sweep(folder.parent)
        part = Path(temporary) / folder.name
        part.mkdir()
        _write_store(part, sources, decode, doing)
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


def _write_store(folder: Path, sources: Sequence[Source], decode: Callable[[Source], np.ndarray], doing: str) -> None:
    shapes: dict[int, tuple[int, ...]] = {}
    reasons: dict[int, str] = {}
    dtypes: set[np.dtype[Any]] = set()
    with (folder / "data.bin").open("wb") as data:
        for i, source in enumerate(progress(sources, doing)):
            try:
                array = decode(source)
            except InputError as error:
                reasons[i] = str(error).removeprefix(f"{source}: ")
                continue
            shapes[i] = array.shape
            dtypes.add(array.dtype)
            data.write(np.ascontiguousarray(array).tobytes())
    if len(dtypes) > 1:
        raise ValueError(f"a store holds one type of array, got {sorted(map(str, dtypes))}")
    np.savez(
        folder / "index.npz",
        shapes=np.array(list(shapes.values()), dtype=np.int64).reshape(len(shapes), -1 if shapes else 0),
        kept=np.array(list(shapes), dtype=np.int64),
        type=np.empty(0, next(iter(dtypes), None)),
        skipped=np.array(list(reasons), dtype=np.int64),
        reasons=np.array(list(reasons.values()), dtype=np.str_),
    )


def _content_hashes(root: Path, paths: Sequence[Path], cache: Path) -> list[str]:
    """The content hash of each file; only new and changed files are read."""
    index = cache / "contents" / f"{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]}.json"
    known = _read_index(index)
    current = {
        name_in(root, path): _seen(path, known.get(name_in(root, path))) for path in progress(paths, "Hashing {} files")
    }
    if any(known.get(name) != seen for name, seen in current.items()):
        with writing_to(index.parent), tempfile.TemporaryDirectory(dir=index.parent) as temporary:
            part = Path(temporary) / index.name
            part.write_text(json.dumps(known | current))
            part.replace(index)
    return [content for _, _, content in current.values()]


def _read_index(index: Path) -> dict[str, list[Any]]:
    try:
        return json.loads(index.read_text())
    except (OSError, ValueError):  # it only saves time
        return {}


def _seen(path: Path, before: list[Any] | None) -> list[Any]:
    """Size, modification time in ns, and content hash; for an unreadable file, the hash of the reason."""
    try:
        status = path.stat()
        if before and before[:2] == [status.st_size, status.st_mtime_ns]:
            return before
        with path.open("rb") as file:
            return [status.st_size, status.st_mtime_ns, hashlib.file_digest(file, "sha256").hexdigest()]
    except OSError as error:
        return [-1, 0, hashlib.sha256(str(error.strerror).encode()).hexdigest()]


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Make ``folder``; errors while writing to it become an `InputError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise InputError(f"cannot write the cache {folder}: {error.strerror}; set MULTIDIFF_CACHE elsewhere") from error


def progress(sources: Sequence[Source], doing: str) -> Iterable[Source]:
    """``sources``, with a progress bar on a terminal if there are many."""
    console = Console(stderr=True)
    hidden = len(sources) < _MANY or not console.is_terminal
    return track(sources, doing.format(len(sources)), console=console, transient=True, disable=hidden)
