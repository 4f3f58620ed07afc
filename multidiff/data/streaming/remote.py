"""Files on this machine, or anywhere that fsspec opens."""

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import unquote

from multidiff.errors import InputError

INSTALL = "pip install 'multidiff-toolkit[data]'"
GB = 10**9
WAITS = (1.0, 4.0, 16.0)
"""Seconds before each further attempt to fetch what could not be fetched."""

_CHUNK = 8 * 2**20
_FINAL = (PermissionError, ImportError)
"""What no further attempt mends."""


@dataclass(frozen=True)
class File:
    """A file as it was when it was found.

    Attributes:
        url: where it is; a path, if that is on this machine.
        size: in bytes.
        stamp: hex hash of place, size and what else says that it has changed.
    """

    url: str
    size: int
    stamp: str

    @property
    def local(self) -> bool:
        """Whether it is on a file system of this machine."""
        return "://" not in self.url


def find_files(places: str | Sequence[str], suffix: str) -> list[File]:
    """The files at ``places``, sorted by their URLs.

    Args:
        places: paths or URLs, with ``{000..009}`` or ``*`` in them, or folders of files with ``suffix``.
        suffix: with its dot.

    Raises:
        InputError: a place cannot be opened, or there is no file.
    """
    try:
        from braceexpand import braceexpand  # noqa: PLC0415  of an extra
    except ImportError as error:
        raise InputError(f"data in shards needs further packages: {INSTALL} ({error})") from error

    named = [places] if isinstance(places, str) else list(map(str, places))
    found = {file.url: file for text in named for place in braceexpand(text) for file in _files_at(place, suffix)}
    if not found:
        raise InputError(f"no {suffix} file matches {', '.join(named)}")
    return [found[url] for url in sorted(found)]


def files_below(root: str) -> dict[str, File]:
    """The remote files in the folder at the URL ``root`` and below, by their paths in it.

    A server of HTTP must list the folder as a page of links, as ``python -m http.server`` and most others do.

    Raises:
        InputError: it cannot be opened, is empty, or lists what does not lie below it.
    """
    with reaching(root):
        system, folder = opened_system(root.rstrip("/"))
        found = system.find(folder, detail=True)
        named = {_name_in(root, folder, path): path for path in found}
        files = {
            name: _remote(_url(system, root, folder, path), _with_size(system, path, found[path]))
            for name, path in named.items()
            if not name.startswith("?")  # a page of HTTP links to itself in another order
        }
    if not files:
        raise InputError(f"no files in {root}")
    return files


def fetch(file: File, into: BinaryIO) -> None:
    """Write what ``file`` holds to the beginning of ``into``, in several attempts if need be.

    Raises:
        InputError: it cannot be fetched, or has another size than it had.
    """
    for wait in WAITS:
        try:
            return _fetch(file, into)
        except InputError as error:
            if isinstance(error.__cause__, _FINAL) or error.__cause__ is None:
                raise
            time.sleep(wait)
    return _fetch(file, into)


def total(files: Sequence[File]) -> int:
    """Bytes."""
    return sum(file.size for file in files)


def _files_at(place: str, suffix: str) -> list[File]:
    from fsspec.core import has_magic  # noqa: PLC0415  importing it takes a while
    from fsspec.implementations.local import LocalFileSystem  # noqa: PLC0415

    with reaching(place):
        system, path = opened_system(place)
        if has_magic(path):
            paths = system.glob(path)
        elif not path.endswith(suffix) and system.isdir(path):
            paths = system.glob(f"{path.rstrip('/')}/*{suffix}")
        else:
            paths = [path]
        if isinstance(system, LocalFileSystem):
            return [_local(Path(file)) for file in paths]
        return [_remote(_url(system, place, path, file), system.info(file)) for file in paths]


def opened_system(place: str) -> tuple[Any, str]:
    """The file system of a path or a URL, and the path in it. Created in each process, since few support a fork."""
    from fsspec.core import url_to_fs  # noqa: PLC0415

    return url_to_fs(os.path.expanduser(place))  # noqa: PTH111  a URL is no Path


@contextmanager
def reaching(place: str) -> Iterator[None]:
    """Whatever a file system raises while ``place`` is looked for becomes an `InputError` that names it."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # each file system has errors of its own
        known = error.__cause__ if isinstance(error, FileNotFoundError) else error
        reason = " ".join(str(known or "there is no such file").split())
        raise InputError(f"cannot open {place}: {reason or type(error).__name__}") from error


def _name_in(root: str, folder: str, path: str) -> str:
    """The name below ``folder``, which is ``root`` on its file system, of a ``path`` that it lists.

    Raises:
        InputError: the path is elsewhere.
    """
    name = path.removeprefix(f"{folder}/")
    if "://" in folder:  # the paths of HTTP are URLs
        name = unquote(name)
    if name == path or ".." in PurePosixPath(name).parts:
        raise InputError(f"{root} lists {path}, which points outside it; only files inside it are read")
    return name


def _url(system: Any, place: str, path: str, found: str) -> str:
    """The URL of the file ``found`` on the ``system`` on which the URL ``place`` is ``path``."""
    whole = place.rstrip("/")
    return whole.removesuffix(path) + found if whole.endswith(path) else str(system.unstrip_protocol(found))


def _with_size(system: Any, path: str, listed: dict[str, Any]) -> dict[str, Any]:
    """What is known of a file, of which a listing of HTTP knows no size."""
    facts: dict[str, Any] = listed if isinstance(listed.get("size"), int) else system.info(path)
    return facts


def _local(path: Path) -> File:
    status = path.stat()
    return File(str(path), status.st_size, _hash(path.resolve(), status.st_size, status.st_mtime_ns))


def _remote(url: str, facts: dict[str, Any]) -> File:
    if not isinstance(facts.get("size"), int):
        raise InputError(f"{url}: the server does not report its size; copy the files to this machine")
    return File(url, facts["size"], _hash(url, *(f"{key}={facts[key]}" for key in sorted(facts))))


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr(tuple(map(str, parts))).encode()).hexdigest()


def _fetch(file: File, into: BinaryIO) -> None:
    into.seek(0)
    for chunk in _chunks(file):
        into.write(chunk)
    into.flush()
    if into.tell() != file.size:
        raise InputError(f"{file.url} has changed: it had {file.size} bytes and now {into.tell()}; start again")


def _chunks(file: File) -> Iterator[bytes]:
    with reaching(file.url):
        system, path = opened_system(file.url)
        with system.open(path, "rb", block_size=0) as remote:  # 0: as a stream, where there is one
            while chunk := remote.read(_CHUNK):
                yield chunk
