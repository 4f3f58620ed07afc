"""Many short texts in one block of memory."""

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np


class Texts(Sequence[str]):
    """Like a list of strings, but loader processes share its memory: reading an item changes no reference count."""

    def __init__(self, texts: Iterable[str]):
        encoded = [text.encode("utf-8", "replace") for text in texts]
        self._ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
        self._block = np.frombuffer(b"".join(encoded), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        start = self._ends[index - 1] if index else 0
        return self._block[start : self._ends[index]].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        return (self[i] for i in range(len(self)))
