"""What a studio made: folders as `multidiff sample` writes them, and an index in SQLite that can be searched.

::

    DIR/    history.sqlite  results/ID/ (00000.png ...  preview.png  samples.json)
"""

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from multidiff.data.files import member, sha256
from multidiff.errors import InputError
from multidiff.sampling.plan import Plan
from multidiff.sampling.samples import PREVIEW, Record, finish, read_record, write_samples

_TABLE = """
create table if not exists results (
    id text primary key, made real not null, model text not null, words text not null, record text not null
)
"""


@dataclass(frozen=True)
class Result:
    """Samples that were generated together.

    Attributes:
        id: of the result, a name that cannot be guessed.
        made: when, in seconds since 1970.
        model: the name of the model.
        words: its fields and settings in a line.
        record: of `samples.json`, without the files.
        folder: with the files.
    """

    id: str
    made: float
    model: str
    words: str
    record: Mapping[str, Any]
    folder: Path

    @property
    def files(self) -> list[Path]:
        """The samples in their order."""
        found = read_record(self.folder)
        return [found.path(entry) for entry in found.files] if found else []

    @property
    def preview(self) -> Path:
        """A picture of all of them."""
        return self.folder / PREVIEW


class History:
    """The results of a studio.

    A result is complete on disk before it is in the index; those that a killed server left out are added at the start.

    Args:
        folder: is made; of a user's data by default.

    Raises:
        InputError: the folder cannot be written, or holds another database.
    """

    def __init__(self, folder: Path | None = None):
        self.folder = (folder or default_history()).expanduser().resolve()
        self.results = self.folder / "results"
        try:
            self.results.mkdir(parents=True, exist_ok=True)
            with self._database() as database:
                database.execute("pragma journal_mode = wal")
                database.execute(_TABLE)
        except (OSError, sqlite3.Error) as error:
            raise InputError(
                f"the history {self.folder} cannot be used ({error}); choose another by --history"
            ) from error
        self._recover()

    def add(self, plan: Plan, artifacts: Sequence[Any], model: str, suffix: str, files: Sequence[Path] = ()) -> Result:
        """Write the samples of a plan, and copies of the files that they were edited from.

        Raises:
            InputError: none could be written, or the disk is full.
        """
        modality, name = plan.pipeline.modality, uuid4().hex
        record = {**plan.record(), "model": model}
        part = self.results / f".{name}"
        try:
            written, failed = write_samples(modality, enumerate(artifacts), record, part, suffix)
            if not written:
                finish(modality, written, failed, record, part, suffix)  # which says why
            finish(modality, written, {}, record, part, suffix)
            for file in files:
                shutil.copyfile(file, part / file.name)
            part.rename(self.results / name)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return self._index(name, time.time(), record)

    def __getitem__(self, name: str) -> Result:
        with self._database() as database:
            row = database.execute("select * from results where id = ?", (name,)).fetchone()
        if row is None:
            raise InputError("this result is no longer in the history")
        return self._result(row)

    def search(self, text: str = "", most: int = 60) -> list[Result]:
        """The newest results that have every word of ``text``."""
        words = text.split()[:20]
        where = " and ".join(["words like ? escape '\\'"] * len(words)) or "1"
        patterns = [f"%{_escaped(word)}%" for word in words]
        query = f"select * from results where {where} order by made desc limit ?"
        with self._database() as database:
            rows = database.execute(query, (*patterns, most)).fetchall()
        return [result for row in rows if (result := self._result(row)).preview.is_file()]

    def modalities(self) -> list[Mapping[str, Any]]:
        """The configs of the modalities of all results, each once."""
        query = "select distinct json_extract(record, '$.modality') from results"
        with self._database() as database:
            return [json.loads(config) for (config,) in database.execute(query) if config]

    def copy(self, file: str, digest: str) -> Path | None:
        """A copy of a file that a result was edited from, by its name and SHA-256; None where there is none.

        Raises:
            InputError: the name leads out of the folder of a result.
        """
        query = "select id from results where instr(record, ?) order by made desc limit 100"
        with self._database() as database:
            names = [name for (name,) in database.execute(query, (digest,))]
        copies = (member(self.results / name, file) for name in names)
        return next((path for path in copies if path.is_file() and sha256(path) == digest), None)

    def remove(self, name: str) -> None:
        """Delete a result and its files."""
        folder = self[name].folder
        with self._database() as database:
            database.execute("delete from results where id = ?", (name,))
        shutil.rmtree(folder, ignore_errors=True)

    def _index(self, name: str, made: float, record: Mapping[str, Any]) -> Result:
        row = (name, made, str(record["model"]), words_of(record), json.dumps(record, ensure_ascii=False))
        with self._database() as database:
            database.execute("insert or ignore into results values (?, ?, ?, ?, ?)", row)
        return self._result(row)

    def _result(self, row: Sequence[Any]) -> Result:
        name, made, model, words, record = row
        return Result(name, made, model, words, json.loads(record), self.results / name)

    def _recover(self) -> None:
        """Add complete folders that the index lacks."""
        with self._database() as database:
            known = {name for (name,) in database.execute("select id from results")}
        for folder in self.results.iterdir():
            if folder.name in known or folder.name.startswith("."):
                continue
            found: Record | None = read_record(folder)
            if found is not None and "model" in found.plan:
                self._index(folder.name, folder.stat().st_mtime, found.plan)

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        """A connection of this thread alone, whose changes are kept at the end."""
        with closing(sqlite3.connect(self.folder / "history.sqlite", timeout=30)) as database, database:
            yield database


def default_history() -> Path:
    """``$XDG_DATA_HOME/multidiff/studio``, or the same below ``~/.local/share``."""
    return Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share") / "multidiff" / "studio"


def words_of(record: Mapping[str, Any]) -> str:
    """The fields and settings of a record in a line, by which it is shown and found."""
    samples = [" ".join(str(value) for value in fields.values()) for fields in record["samples"]]
    sampler, seeds, guidance = record["sampler"], record["seeds"], record["guidance"]
    seed = seeds["seed"] if "seed" in seeds else f"{seeds['first']} to {seeds['second']}"
    parts = [
        ", ".join(filter(None, dict.fromkeys(samples))),
        *(f"not {value}" for value in guidance["negative"].values()),
        str(record["model"]),
        f"{sampler['name']} {sampler['steps']} steps",
        f"guidance {guidance['scale']:g}",
        f"seed {seed}",
        *([str(record["edit"]["kind"])] if record["edit"] else []),
    ]
    return " · ".join(filter(None, parts))


def _escaped(word: str) -> str:
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
