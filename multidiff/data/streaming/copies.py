"""A size-limited folder of local copies of remote files."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any, BinaryIO

from multidiff.data.cache import writing_to
from multidiff.data.streaming.remote import GB, File, fetch
from multidiff.errors import InputError


class Copies:
    """Files, fetched when they are first opened and shared by all processes; the least recently used are evicted.

    ::

        FOLDER/<stamp>        a complete file
        FOLDER/<stamp>.part   one that is being fetched, as large as it will be, locked by whoever fetches it
        FOLDER/lock           held while room is made

    Args:
        folder: of the copies; nothing else may write into it.
        limit: of the total size, in bytes.
    """

    def __init__(self, folder: Path, limit: int):
        self.folder, self.limit = folder, limit
        self._expected: dict[str, Thread] = {}

    def open(self, file: File) -> BinaryIO:
        """The copy of ``file``, opened.

        Raises:
            InputError: it cannot be fetched, has changed, or there is no room for it.
        """
        path = self.folder / file.stamp
        while True:
            try:
                handle = path.open("rb")
            except FileNotFoundError:
                self.fetch(file)
            else:
                os.utime(handle.fileno())
                return handle

    def expect(self, file: File) -> None:
        """Start fetching ``file`` in the background, unless there is a copy."""
        running = {stamp: thread for stamp, thread in self._expected.items() if thread.is_alive()}
        if file.stamp not in running and not (self.folder / file.stamp).exists():
            running[file.stamp] = Thread(target=self._fetch_quietly, args=(file,), daemon=True)
            running[file.stamp].start()
        self._expected = running

    def fetch(self, file: File) -> None:
        """Fetch ``file``, or wait until another process has fetched it.

        Raises:
            InputError: as for ``open``.
        """
        if file.size > self.limit:
            raise InputError(
                f"{file.url} has {file.size / GB:.3g} GB, more than data.cache_limit={self.limit / GB:.3g}: raise it"
            )
        path = self.folder / file.stamp
        with writing_to(self.folder), _locked(path.with_suffix(".part")) as part:
            if path.exists() or not _still_there(part):
                return
            try:
                self._make_room(file.size, part)
                fetch(file, part)
            except BaseException:
                with self._room():
                    Path(part.name).unlink()
                raise
            with self._room():
                Path(part.name).rename(path)

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_expected": {}}

    def _fetch_quietly(self, file: File) -> None:
        with suppress(InputError):  # reading the file will raise it again
            self.fetch(file)

    def _make_room(self, size: int, part: BinaryIO) -> None:
        """Evict the least recently used copies until there is room for ``size`` bytes, reserved by ``part``."""
        while True:
            with self._room():
                _sweep(self.folder, part)
                kinds = {path: path.suffix for path in self.folder.iterdir() if path.name != "lock"}
                sizes = {path: path.stat().st_size for path in kinds}
                whole = sorted((path for path in kinds if not kinds[path]), key=lambda path: path.stat().st_mtime_ns)
                while whole and sum(sizes.values()) + size > self.limit:
                    sizes.pop(whole[0])
                    whole.pop(0).unlink()
                if sum(sizes.values()) + size <= self.limit:
                    part.truncate(size)
                    return
            time.sleep(0.1)  # until others have fetched what they are fetching

    def _room(self) -> AbstractContextManager[Any]:
        """A lock on the folder: no other process changes its files meanwhile."""
        return _locked(self.folder / "lock")


def _sweep(folder: Path, mine: BinaryIO) -> None:
    """Remove partial files of killed processes, whose locks are free."""
    for path in folder.glob("*.part"):
        if str(path) != mine.name:
            with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as part:
                fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """``path`` opened for writing, exclusively among the threads of all processes."""
    with open(path, "r+b", opener=lambda name, flags: os.open(name, flags | os.O_CREAT | os.O_NOFOLLOW, 0o666)) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _still_there(file: BinaryIO) -> bool:
    """Whether ``file`` has been neither renamed nor removed since it was opened."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), Path(file.name).stat())
    return False
