"""Folders of the Hugging Face package `datasets`, memory-mapped, with random access to the rows.

::

    root/state.json                  as `Dataset.save_to_disk` leaves it
    root/dataset_dict.json           as `DatasetDict.save_to_disk` does; one of its splits
    root/.../*.parquet  or *.arrow   files of one table; those with the split in their path, if there are such
"""

import errno
import glob
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from multidiff.configuration import read_json
from multidiff.data.cache import default_cache, writing_to
from multidiff.data.dataset import UnreadableError
from multidiff.data.decoding import OverrunError, default_limits
from multidiff.data.encoded_file import EncodedFile
from multidiff.data.files import member
from multidiff.data.folder import preparation_of
from multidiff.data.labels import Labels
from multidiff.data.limited import limited, no_file_above
from multidiff.data.streaming.encoded import Encoded, EncodedDataset
from multidiff.data.streaming.folder_copy import folder_at
from multidiff.data.streaming.remote import GB, INSTALL
from multidiff.data.texts import Texts
from multidiff.errors import InputError, few_of
from multidiff.modality import Modality

ROWS = 1000
"""Rows of a Parquet file that are read at a time."""

RATIO = 100
UNPACKED = 2**30
"""Parquet and Arrow files are refused that unpack to more than these many times their size and these many bytes."""


class Table(Encoded):
    """The rows of a table, one column of which holds encoded files, or paths to them.

    Args:
        root: the folder, or a URL of one, which is downloaded completely.
        split: which, where there are several.
        column: that holds the files.
        label: column of the class, if there is one of that name.
        caption: likewise, of the caption.
        cache: folder for copies of remote folders and of what is not memory-mapped; by default that of the user.
        cache_limit: GB that copies of remote folders may take.

    Raises:
        InputError: the folder holds no table, or the table no such column.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        column: str,
        *,
        label: str | None,
        caption: str | None,
        cache: str | Path | None,
        cache_limit: float,
    ):
        cache = default_cache() if cache is None else Path(cache).expanduser()
        self.root, self.column = root, column
        self.folder = folder = folder_at(str(root), cache / "tables", round(cache_limit * GB))
        opened = partial(_opened, folder, split, cache / "tables" / "converted")
        with _quiet_and_offline():
            try:
                self.fields, self.content = limited(
                    lambda: self._read(opened(checked=True), label, caption), default_limits().memory
                )
            except OverrunError as error:
                raise InputError(f"{root} {error}") from error
            self._choose(opened())

    def __len__(self) -> int:
        return len(self.rows)

    def file(self, index: int) -> EncodedFile:
        row = self.rows[index][self.column] or {}
        content, path = row.get("bytes"), row.get("path")
        name = f"{self.root}, row {index}{f': {path}' if path else ''}"
        if content is None and path:
            try:
                content = member(self.folder, os.path.relpath(self.folder / path, self.folder)).read_bytes()
            except (InputError, OSError) as error:
                raise UnreadableError(f"{name}: {getattr(error, 'strerror', error)}") from error
        return EncodedFile(content or b"", name)

    def _choose(self, table: Any) -> None:
        if self.column not in table.column_names:
            known = few_of(table.column_names, self.column)
            raise InputError(
                f"{self.root} has no column {self.column!r}; it has {known}: set data.column to one of them"
            )
        self.rows = _undecoded(table.select_columns([self.column]), self.column, self.root)

    def _read(self, table: Any, label: str | None, caption: str | None) -> tuple[dict[str, Sequence[Any]], str]:
        """The fields and the hash of a table; what they decode may be far larger than compressed files."""
        self._choose(table)
        self.fields = _fields(table, {self.column, label, caption}, label, caption, self.root)
        return self.fields, self._hash()

    def _hash(self) -> str:
        from pyarrow import compute  # noqa: PLC0415  of an extra

        files = self.rows.data.column(self.column)
        sizes = compute.fill_null(compute.binary_length(compute.struct_field(files, "bytes")), -1)
        known = hashlib.sha256(np.asarray(sizes, dtype=np.int64).tobytes())
        known.update(json.dumps({name: list(map(str, values)) for name, values in self.fields.items()}).encode())
        return known.hexdigest()


def _opened(folder: Path, split: str, converted: Path, *, checked: bool = False) -> Any:
    """The table in ``folder``, on request validated, since a damaged one could crash whoever reads its rows."""
    with _reading(folder):
        saved = any((folder / name).exists() for name in ("dataset_dict.json", "state.json"))
        table = _saved(folder, split) if saved else _of_files(folder, split, converted)
        if checked:
            table.data.validate(full=True)
    return table


def _saved(folder: Path, split: str) -> Any:
    """The table that `Dataset.save_to_disk` left in ``folder``, or the split of those of `DatasetDict.save_to_disk`."""
    import datasets  # noqa: PLC0415  of an extra

    if (folder / "dataset_dict.json").exists():
        splits = list(map(str, read_json(folder / "dataset_dict.json")["splits"]))
        if split not in splits:
            known = few_of(splits, split)
            raise InputError(f"{folder} has no split {split!r}; it has {known}: set data.split to one of them")
        folder = member(folder, f"{split}/state.json").parent
    for file in read_json(folder / "state.json")["_data_files"]:
        member(folder, file["filename"])
    return datasets.load_from_disk(str(folder)).with_format(None)


def _of_files(folder: Path, split: str, converted: Path) -> Any:
    """The table of the Parquet files in ``folder``, or else of its Arrow files."""
    import datasets  # noqa: PLC0415  of an extra

    for kind in ("parquet", "arrow"):
        files = sorted(folder.rglob(f"*.{kind}"))
        if special := [file for file in files if file.exists() and not file.is_file()]:
            raise InputError(f"{special[0]} is not a regular file")
        of_split = [file for file in files if split in os.path.relpath(file, folder)]
        if files:
            names = [glob.escape(str(file)) for file in of_split or files]
            settings = {"batch_size": ROWS} if kind == "parquet" else {}
            largest = max(UNPACKED, RATIO * sum(file.stat().st_size for file in of_split or files))
            with writing_to(converted), _reading(folder), no_file_above(largest):
                return datasets.load_dataset(
                    kind, data_files=names, split="train", cache_dir=str(converted), **settings
                )
    raise InputError(f"no table in {folder}: it holds neither state.json nor dataset_dict.json, *.parquet or *.arrow")


def _undecoded(table: Any, column: str, root: str | Path) -> Any:
    """The table with ``column`` as bytes and paths, whatever `datasets` would decode it to."""
    import datasets  # noqa: PLC0415  of an extra

    kind = table.features[column]
    decodes = isinstance(kind, datasets.Image | datasets.Audio)
    try:
        return table.cast_column(column, type(kind)(decode=False) if decodes else datasets.Image(decode=False))
    except (TypeError, ValueError, NotImplementedError) as error:
        raise InputError(
            f"{root}: column {column!r} is of type {kind}, which holds no files: set data.column to one that holds "
            "files or paths to them"
        ) from error


def _fields(
    table: Any, used: set[str | None], label: str | None, caption: str | None, root: str | Path
) -> dict[str, Sequence[Any]]:
    """The class and the caption of each row, and the columns of numbers under their own names."""
    fields: dict[str, Sequence[Any]] = {}
    import datasets  # noqa: PLC0415  of an extra

    for name in {label, caption} & set(table.column_names):
        if not isinstance(table.features[name], datasets.Value | datasets.ClassLabel):  # others open what they name
            kind = table.features[name]
            raise InputError(f"{root}: column {name!r} is of type {kind}, neither a class nor a text: choose another")
    if label and label in table.column_names:
        fields["label"] = _classes(table, label, root)
    if caption in table.column_names:
        fields["caption"] = Texts("" if text is None else str(text) for text in table[caption])
    for name, feature in table.features.items():
        numbers = isinstance(feature, datasets.Value) and feature.dtype.startswith(("int", "float"))
        if name not in used and numbers:
            fields[name] = table.with_format("numpy")[name][:]
    return fields


def _classes(table: Any, label: str, root: str | Path) -> Labels:
    values: Sequence[Any] = table.with_format("numpy")[label][:]
    names = getattr(table.features[label], "names", None)
    if names is None:
        return Labels.of(map(str, values))
    indices = np.asarray(values, dtype=np.int32)
    unknown = (indices < 0) | (indices >= len(names))
    if unknown.any():
        raise InputError(
            f"{root}: row {int(np.argmax(unknown))} has none of the {len(names)} classes; set data.label=null"
        )
    return Labels(indices, tuple(names))


class TableDataset(EncodedDataset):
    """Training data in a column of a table, for any modality; see `Table`.

    Args:
        modality: of the samples.
        root: the folder, or a URL of one, which is downloaded completely.
        column: that holds the files.
        split: where there are several.
        label: column of the class, if there is one of that name.
        caption: likewise, of the caption.
        max_unreadable: how many samples may be left out in a process.
        cache: folder for copies; by default that of the user.
        cache_limit: GB that copies of remote folders may take.
        **settings: of the modality's preparation.
    """

    def __init__(
        self,
        modality: Modality[Any],
        root: str | Path,
        column: str,
        split: str = "train",
        label: str | None = "label",
        caption: str | None = "text",
        max_unreadable: int = 100,
        cache: str | Path | None = None,
        cache_limit: float = 50.0,
        **settings: Any,
    ):
        preparation = preparation_of(modality, settings)
        source = Table(root, split, column, label=label, caption=caption, cache=cache, cache_limit=cache_limit)
        super().__init__(source, preparation, max_unreadable)


@contextmanager
def _quiet_and_offline() -> Iterator[None]:
    """Without progress bars and without access to the hub."""
    try:
        import datasets  # noqa: PLC0415  of an extra
    except ImportError as error:
        raise InputError(f"data of Hugging Face datasets needs that package: {INSTALL} ({error})") from error

    shown, offline = datasets.is_progress_bar_enabled(), datasets.config.HF_HUB_OFFLINE
    largest = datasets.config.MAX_SHARD_SIZE
    verbosity = datasets.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # what it logs as an error, it raises too
    datasets.config.HF_HUB_OFFLINE = True
    datasets.config.MAX_SHARD_SIZE = sys.maxsize  # so that one file holds what is unpacked, and its size can be limited
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, datasets.config.MAX_SHARD_SIZE = offline, largest
        datasets.logging.set_verbosity(verbosity)
        if shown:
            datasets.enable_progress_bars()


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # datasets and pyarrow raise whatever a damaged file leads them to
        cause = error.__cause__ or error
        if isinstance(cause, OSError) and cause.errno == errno.EFBIG:
            raise InputError(
                f"{folder} cannot be read: it decompresses to far more data than its file size allows"
            ) from error
        lacking = "it needs more memory than is available" if isinstance(cause, MemoryError) else ""
        told = lacking or " ".join(str(cause).split())[:500] or type(error).__name__
        raise InputError(f"{folder} cannot be read: {told}") from error
