"""The data set contract: data tensors, and named fields of each sample."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from types import MappingProxyType
from typing import Any, overload

import numpy as np
from torch import Tensor

from multidiff.data.labels import Labels
from multidiff.errors import InputError


class UnreadableError(InputError):
    """A sample that cannot be read; another one may replace it."""


class Dataset(ABC):
    """Training data, with named fields of each sample.

    Attributes:
        shape: of every data tensor, ``(C, *size)``; but see ``shapes``.
        fields: columns of N values by name: ``label`` (a `Labels`), ``caption`` (texts), ``seconds`` and others. None
            or an empty text in a column is an unknown value; a tuple holds alternatives, such as several captions.
        measured: names of the fields that follow from the data themselves, as the duration of a sound does.
        origin: hex hash of the sources and of the settings that they were prepared with.
        shards: index of the file that holds each sample, ``(N,)``, if few files should be open at a time; or None.
        mixed: number of such files that are open at a time.
        shapes: of each sample, ``(N, D)``, if they differ; or None. ``shape`` is then only the usual one, and the
            samples of a batch have one shape.
        repeats: how often an epoch has each sample, ``(N,)``; None for once.
    """

    shape: tuple[int, ...]
    fields: Mapping[str, Sequence[Any]] = MappingProxyType({})
    measured: tuple[str, ...] = ()
    origin: str
    shards: np.ndarray | None = None
    mixed: int = 1
    shapes: np.ndarray | None = None
    repeats: np.ndarray | None = None

    @cached_property
    def groups(self) -> np.ndarray | None:
        """Number of the shape of each sample, ``(N,)``, if they differ."""
        return None if self.shapes is None else np.unique(self.shapes, axis=0, return_inverse=True)[1].reshape(-1)

    @property
    def labels(self) -> Labels | None:
        """The field ``label``, if the data have classes."""
        column = self.fields.get("label")
        return column if isinstance(column, Labels) else None

    @cached_property
    def content(self) -> str:
        """Hex hash of all samples and their fields."""
        columns = {name: list(column) for name, column in sorted(self.fields.items())}
        names = self.labels.names if self.labels else ()
        return hashlib.sha256(repr((self.origin, tuple(self.shape), names, columns)).encode()).hexdigest()

    @property
    def values(self) -> dict[str, Sequence[Any]]:
        """The fields with each of their alternatives."""
        return {name: _flat(column) for name, column in self.fields.items()}

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def data(self, index: int, random: np.random.Generator) -> Tensor:
        """Sample ``index``, ``(C, *size)`` in float32; ``random`` decides the augmentation.

        Raises:
            UnreadableError: training continues with another sample.
        """

    def facts(self, index: int, random: np.random.Generator | None = None) -> dict[str, Any]:
        """The fields of sample ``index``; of alternatives, the one that ``random`` chooses, by default the first."""
        return {name: _chosen(column[index], random) for name, column in self.fields.items()}

    def name(self, index: int) -> str:
        """What a message calls sample ``index``."""
        return f"sample {index}"

    def expect(self, index: int) -> None:  # noqa: B027  most data sets need no preparation
        """Prepare for sample ``index``, which will be read soon."""


def _flat(column: Sequence[Any]) -> Sequence[Any]:
    if not isinstance(column, list) or not any(isinstance(entry, tuple) for entry in column):
        return column
    return [value for entry in column for value in (entry if isinstance(entry, tuple) else (entry,))]


def _chosen(entry: Any, random: np.random.Generator | None) -> Any:
    if not isinstance(entry, tuple):
        return entry
    return entry[0 if random is None else int(random.integers(len(entry)))]


class Unaugmented(Sequence[Tensor]):
    """The data tensors of a data set, the same each time."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        rows = range(len(self))
        if isinstance(index, slice):
            return [self[row] for row in rows[index]]
        row = rows[index]
        return readable(self.dataset, rows, row, np.random.default_rng(row))[1]


def readable(
    dataset: Dataset, indices: Sequence[int] | np.ndarray, place: int, random: np.random.Generator
) -> tuple[int, Tensor]:
    """The first of ``indices`` from ``place`` on, wrapping around, that can be read, and its data.

    Raises:
        InputError: none can be read.
    """
    for following in range(len(indices)):
        index = int(indices[(place + following) % len(indices)])
        with suppress(UnreadableError):
            return index, dataset.data(index, random)
    raise InputError("no sample of the data can be read")


def drawn_rows(count: int, most: int) -> list[int]:
    """At most ``most`` of ``count`` rows, at random but the same each time: evenly spaced ones may be of one class."""
    return [int(row) for row in np.random.default_rng(0).permutation(count)[:most]]
