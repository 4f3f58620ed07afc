"""Columns of classes."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np


class Labels(Sequence[str]):
    """The class of each sample by name, stored as indices that loader processes share.

    Args:
        indices: into ``names``, ``(N,)``.
        names: of all classes, in the order that models list them.
    """

    def __init__(self, indices: Sequence[int] | np.ndarray, names: Sequence[str]):
        self.indices = np.asarray(indices, dtype=np.int32)
        self.names = tuple(names)

    @classmethod
    def of(cls, labels: Iterable[str]) -> "Labels":
        """The classes in ``labels``, sorted; names that are numbers by their value, before all others."""
        texts = list(labels)
        names = sorted(set(texts), key=_by_value)
        index = {name: i for i, name in enumerate(names)}
        return cls([index[text] for text in texts], names)

    def at(self, rows: Sequence[int] | np.ndarray) -> "Labels":
        """The classes of the samples ``rows``, of the same names."""
        return Labels(self.indices[np.asarray(rows, dtype=np.int64)], self.names)

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "Labels": ...
    def __getitem__(self, index: int | slice) -> "str | Labels":
        if isinstance(index, slice):
            return Labels(self.indices[index], self.names)
        return self.names[self.indices[index]]

    def __iter__(self) -> Iterator[str]:
        return (self.names[i] for i in self.indices)


def _by_value(name: str) -> tuple[int, int, str]:
    return (0, int(name), "") if re.fullmatch(r"[0-9]{1,18}", name) else (1, 0, name)
