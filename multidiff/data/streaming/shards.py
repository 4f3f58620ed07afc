"""Tar shards, local or remote, as samples that can be read in any order.

::

    CACHE/shards/indices/<key>.json   positions of the samples of a shard, made at first use
    CACHE/shards/copies/              remote shards, as many as `data.cache_limit` allows
"""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from multidiff.data.cache import default_cache, writing_to
from multidiff.data.encoded_file import EncodedFile
from multidiff.data.files import atomic_path
from multidiff.data.folder import preparation_of
from multidiff.data.labels import Labels
from multidiff.data.progress import progress
from multidiff.data.scan import report_unread
from multidiff.data.streaming.copies import Copies
from multidiff.data.streaming.encoded import Encoded, EncodedDataset
from multidiff.data.streaming.remote import GB, File, find_files, total
from multidiff.data.streaming.tar_index import TarIndex, index_of
from multidiff.data.texts import Texts
from multidiff.errors import InputError
from multidiff.modality import Modality

READERS = 8
"""Shards that are indexed at a time."""

_FORMAT = 2
"""Indices of another format have other keys."""

log = logging.getLogger(__name__)


class Shards(Encoded):
    """Samples in tar files, by WebDataset's conventions.

    Local shards are read where they are. Remote ones are fetched whole, ahead of their use, into a folder that all
    processes of the machine share and that keeps within a limit.

    Args:
        shards: paths or URLs, with ``{000..009}`` or ``*`` in them, or folders of them.
        suffixes: of the members that hold the samples, with their dots.
        kind: what they are, for messages: "image".
        label: suffix of the member that holds the class, or ``json.KEY``.
        caption: likewise, of the caption.
        mix: shards whose samples are mixed at a time.
        cache: folder for indices and copies; by default that of the user.
        cache_limit: GB that copies may take.
        max_unreadable: how many captions may be empty because they cannot be read.

    Raises:
        InputError: a shard cannot be opened or used, none has a sample, some samples have a class and others none, too
            many captions cannot be read, or the shards that are mixed exceed the limit.
    """

    def __init__(
        self,
        shards: str | Sequence[str],
        suffixes: Sequence[str],
        kind: str,
        *,
        label: str,
        caption: str,
        mix: int,
        cache: str | Path | None,
        cache_limit: float,
        max_unreadable: int,
    ):
        if mix < 1 or cache_limit <= 0:
            raise InputError(f"data.mix must be at least 1 and data.cache_limit above 0, got {mix} and {cache_limit}")
        self.files = find_files(shards, ".tar")
        self.mixed = mix
        folder = (default_cache() if cache is None else Path(cache).expanduser()) / "shards"
        self.copies = Copies(folder / "copies", round(cache_limit * GB))
        self._check_room()
        how = (tuple(suffixes), label, caption)
        indices = self._indices(partial(self._index, folder / "indices", how))
        self._report(indices, kind, suffixes, max_unreadable)
        self._join(indices)

    def __len__(self) -> int:
        return len(self.offsets)

    def file(self, index: int) -> EncodedFile:
        shard = self.files[self.shards[index]]
        name, size = f"{shard.url}/{self.names[index]}", int(self.sizes[index])
        with self._opened(shard) as tar:
            tar.seek(self.offsets[index])
            content = tar.read(size)
        if len(content) < size:
            raise InputError(f"{shard.url} has been truncated since training began: restore it")
        return EncodedFile(content, name)

    def expect(self, index: int) -> None:
        shard = self.files[self.shards[index]]
        if not shard.local:
            self.copies.expect(shard)

    def _opened(self, shard: File) -> BinaryIO:
        if not shard.local:
            return self.copies.open(shard)
        try:
            return Path(shard.url).open("rb")
        except OSError as error:
            raise InputError(f"{shard.url}: {error.strerror}; restore it, then resume") from error

    def _check_room(self) -> None:
        """Twice as many shards are in use at the end of an epoch, when those of the next one start."""
        remote = sorted((file for file in self.files if not file.local), key=lambda file: file.size)
        needed = total(remote[-2 * self.mixed :])
        if needed > self.copies.limit:
            raise InputError(
                f"up to {2 * self.mixed} shards are in use at a time, up to {needed / GB:.3g} GB, but "
                f"data.cache_limit is {self.copies.limit / GB:.3g} GB: raise it, or lower data.mix={self.mixed}"
            )

    def _indices(self, index: Callable[[File], TarIndex]) -> list[TarIndex]:
        with ThreadPoolExecutor(READERS) as pool:
            made = pool.map(index, self.files)
            try:
                return [next(made) for _ in progress(self.files, len(self.files), "Indexing {} shards")]
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _index(self, folder: Path, how: tuple[tuple[str, ...], str, str], shard: File) -> TarIndex:
        key = hashlib.sha256(json.dumps([_FORMAT, shard.stamp, how]).encode()).hexdigest()
        path = folder / f"{key}.json"
        with suppress(InputError, OSError, UnicodeDecodeError):  # there is none, or it is damaged
            return TarIndex.from_json(path.read_text("utf-8"), shard.size)
        with self._opened(shard) as tar:
            index = index_of(tar, shard.url, *how)
        with writing_to(folder), atomic_path(path) as part:
            part.write_text(index.to_json(), "utf-8")
        return index

    def _report(self, indices: Sequence[TarIndex], kind: str, suffixes: Sequence[str], max_unreadable: int) -> None:
        """Say what is left out, and refuse shards with too little."""
        others, scattered = (sum(counts) for counts in zip(*((i.others, i.scattered) for i in indices), strict=True))
        order = f"; {scattered} names occur again later in their shard, but the files of a sample must be adjacent"
        hint = order if scattered else ""
        if not any(index.names for index in indices):
            raise InputError(
                f"no {kind} in {len(indices)} shards (first: {self.files[0].url}): of their {others} samples none has "
                f"a file with a suffix of {' '.join(suffixes)}{hint}"
            )
        if others:
            log.warning("%d samples have no file with a suffix of %s: left out%s", others, " ".join(suffixes), hint)
        unread = [line for index in indices for line in index.unread]
        report_unread(f"{len(indices)} shards", unread, max_unreadable)

    def _join(self, indices: Sequence[TarIndex]) -> None:
        counts = [len(index.names) for index in indices]
        self.shards: np.ndarray = np.repeat(np.arange(len(indices), dtype=np.int32), counts)
        self.offsets = np.array([offset for index in indices for offset in index.offsets], dtype=np.int64)
        self.sizes = np.array([size for index in indices for size in index.sizes], dtype=np.int64)
        self.names = Texts(name for index in indices for name in index.names)
        labels = [label for index in indices for label in index.labels]
        captions = [caption for index in indices for caption in index.captions]
        known_labels = self._labels(labels)
        self.fields = {
            **({"label": known_labels} if known_labels else {}),
            **({"caption": Texts(caption or "" for caption in captions)} if any(captions) else {}),
        }
        known = json.dumps([[*zip(index.names, index.offsets, index.sizes, strict=True)] for index in indices])
        self.content = hashlib.sha256(f"{known} {labels} {captions}".encode()).hexdigest()

    def _labels(self, labels: Sequence[str | None]) -> Labels | None:
        known = [label for label in labels if label is not None]
        if len(known) == len(labels):
            return Labels.of(known)
        if not known:
            return None
        without = labels.index(None)
        where = f"{self.files[self.shards[without]].url}/{self.names[without]}"
        raise InputError(f"{where} has no class, but other samples have one: give every sample a class, or none")


class ShardDataset(EncodedDataset):
    """Training data in tar shards, for any modality; see `Shards`.

    Args:
        modality: of the samples.
        shards: paths or URLs, with ``{000..009}`` or ``*`` in them, or folders of them.
        label: suffix of the member that holds the class, or ``json.KEY``.
        caption: likewise, of the caption.
        mix: shards whose samples are mixed at a time.
        max_unreadable: how many samples may be left out in a process, and how many captions be empty.
        cache: folder for indices and copies; by default that of the user.
        cache_limit: GB that copies may take.
        **settings: of the modality's preparation.
    """

    def __init__(
        self,
        modality: Modality[Any],
        shards: str | Sequence[str],
        label: str = "cls",
        caption: str = "txt",
        mix: int = 16,
        max_unreadable: int = 100,
        cache: str | Path | None = None,
        cache_limit: float = 50.0,
        **settings: Any,
    ):
        preparation = preparation_of(modality, settings)
        source = Shards(
            shards,
            preparation.suffixes,
            modality.name,
            label=label,
            caption=caption,
            mix=mix,
            cache=cache,
            cache_limit=cache_limit,
            max_unreadable=max_unreadable,
        )
        super().__init__(source, preparation, max_unreadable)
