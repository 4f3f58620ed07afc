"""A folder of files as training data, for any modality."""

from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from multidiff.configuration import construct
from multidiff.data.cache import decoded
from multidiff.data.dataset import Dataset
from multidiff.data.labels import Labels
from multidiff.data.scan import fields_of, find_entries, path_of
from multidiff.data.store import Store
from multidiff.data.texts import Texts
from multidiff.errors import InputError
from multidiff.modality import Modality, Preparation


class Prepared(Dataset):
    """Training samples from a store of prepared arrays, one or several of each array.

    Args:
        preparation: that made the store.
        store: the arrays.
        fields: columns with a value for each array.
    """

    def __init__(self, preparation: Preparation, store: Store, fields: dict[str, Sequence[Any]]):
        self.preparation, self.store = preparation, store
        self.shape, self.origin = preparation.shape, store.key
        counts = [preparation.samples_in(shape) for shape in store.shapes]
        self.sources = np.repeat(np.arange(len(store)), counts)
        if preparation.varies:
            self.shapes = store.shapes[self.sources]
        own = [preparation.fields(shape) for shape in store.shapes]
        known = {name: [facts[name] for facts in own] for name in own[0]} | fields
        self.measured = tuple(name for name in own[0] if name not in fields)
        self.fields = {name: _at(column, self.sources) for name, column in known.items()}

    def __len__(self) -> int:
        return len(self.sources)

    def data(self, index: int, random: np.random.Generator) -> Tensor:
        return self.preparation.sample(self.store[self.sources[index]], random)


class Folder(Prepared):
    """Files below a folder, with classes, captions and other fields as `multidiff.data.scan` finds them.

    Each file is prepared once and kept in the cache.

    Args:
        modality: of the files.
        root: the folder.
        split: of ``root/CLASS/SPLIT/FILE``; None takes every file.
        max_unreadable: how many files may be left out because they cannot be used, and how many captions be empty.
        cache: folder for the prepared files; by default that of the user.
        **settings: of the modality's preparation.

    Raises:
        InputError: there is no file, or too many cannot be read.
    """

    preparation_type: ClassVar[type[Preparation] | None] = None
    """Class of the preparation; None stands for that of the modality."""

    def __init__(
        self,
        modality: Modality[Any],
        root: str | Path,
        split: str | None = None,
        max_unreadable: int = 10,
        cache: str | Path | None = None,
        **settings: Any,
    ):
        root, preparation = path_of(root), preparation_of(modality, settings, self.preparation_type)
        entries = find_entries(root, preparation.suffixes, modality.name, split, preparation.companions, max_unreadable)
        store = decoded(
            [entry.path for entry in entries],
            preparation,
            root=root,
            kind=modality.name,
            max_unreadable=max_unreadable,
            cache=None if cache is None else path_of(cache),
        )
        kept = [entries[i] for i in store.kept]
        super().__init__(preparation, store, fields_of(kept))
        self.files = Texts(str(entry.path.relative_to(root)) for entry in kept)

    def name(self, index: int) -> str:
        """The file of sample ``index``."""
        return self.files[self.sources[index]]


def preparation_of(
    modality: Modality[Any], settings: dict[str, Any], kind: type[Preparation] | None = None
) -> Preparation:
    """The preparation of a modality, or another ``kind`` of it, with these settings.

    Raises:
        InputError: the modality has none, or a setting is unknown or cannot be used.
    """
    kind = kind or modality.preparation
    if kind is None:
        raise InputError(f"the modality {modality.name} reads no folders, shards or tables")
    known = [name for name in signature(kind).parameters if name != "modality"]
    if unknown := [name for name in settings if name not in known]:
        raise InputError(
            f"data.{unknown[0]} is not a setting of {modality.name} data, which has {', '.join(known)}: leave it out, "
            "or choose the modality that has it"
        )
    return construct(kind, settings, modality=modality)


def _at(column: Sequence[Any], rows: np.ndarray) -> Sequence[Any]:
    return column.at(rows) if isinstance(column, Labels) else [column[row] for row in rows]
