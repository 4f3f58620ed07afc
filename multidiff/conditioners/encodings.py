"""Encodings of texts on disk: each distinct text goes through a frozen encoder once."""

import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from multidiff.data.cache import writing_to
from multidiff.errors import InputError

Ids = tuple[int, ...]
"""The tokens of a text."""

WAIT = 60.0
"""Seconds to wait for another process that writes."""


class Encodings:
    """Flat arrays by the tokens of their text, in one SQLite file, which processes share.

    Args:
        folder: of the file.
        name: of the encoder; encodings of other names are in other files.
    """

    def __init__(self, folder: Path, name: str):
        self.path = folder / f"{hashlib.sha256(name.encode()).hexdigest()}.sqlite"

    def get(self, texts: Sequence[Ids], encode: Callable[[Ids], np.ndarray]) -> dict[Ids, np.ndarray]:
        """The encodings of ``texts``, ``(N,)`` in float32; ``encode`` makes those that are missing, and they are kept.

        Raises:
            InputError: the file cannot be written, or is damaged.
        """
        keys = {_key(ids): ids for ids in texts}
        try:
            with writing_to(self.path.parent), closing(sqlite3.connect(self.path, timeout=WAIT)) as database:
                database.execute(
                    "CREATE TABLE IF NOT EXISTS encodings (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID"
                )
                found = {ids: _array(value) for key, ids in keys.items() if (value := _read(database, key))}
                made = {ids: encode(ids).reshape(-1) for ids in keys.values() if ids not in found}
                if made:
                    rows = [(_key(ids), array.astype("<f4").tobytes()) for ids, array in made.items()]
                    with database:
                        database.executemany("INSERT OR IGNORE INTO encodings VALUES (?, ?)", rows)
        except sqlite3.Error as error:
            raise InputError(f"the cache {self.path} cannot be used ({error}): delete that file") from error
        return found | made


def _key(ids: Ids) -> bytes:
    return hashlib.sha256(np.asarray(ids, dtype="<i8").tobytes()).digest()


def _read(database: sqlite3.Connection, key: bytes) -> bytes | None:
    row = database.execute("SELECT value FROM encodings WHERE key = ?", (key,)).fetchone()
    return None if row is None else row[0]


def _array(value: bytes) -> np.ndarray:
    return np.frombuffer(value, dtype="<f4").astype(np.float32)
