"""Arrays on disk, in one memory map.

::

    STORE/data.bin               the arrays, one after another
    STORE/index.npz              their shapes and type, remarks, and which sources were left out, and why
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from multidiff.data.decoding import OverrunError
from multidiff.errors import InputError


class Store:
    """Arrays of one type and any shapes, read-only, in a memory map. Pickled by its folder, never by its contents.

    Attributes:
        key: hex hash of contents and settings.
        shapes: of the arrays, ``(N, D)``.
        kept: index of the source of each array, ``(N,)``.
        remarks: what a person should know of the arrays, a line each; none in stores of older versions.
        skipped: sources that could not be decoded, and why.
        final: whether these would fail again; others took too long or too much memory.

    Raises:
        InputError: the store is missing or damaged.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.key = folder.name
        try:
            with np.load(folder / "index.npz") as index:
                self.shapes, self.kept, dtype = index["shapes"], index["kept"], index["type"].dtype
                self.remarks: list[str] = index["remarks"].tolist() if "remarks" in index else []
                self.skipped: dict[int, str] = dict(
                    zip(index["skipped"].tolist(), index["reasons"].tolist(), strict=True)
                )
                self.final = bool(index.get("final", True))
            self._ends = np.cumsum(self.shapes.prod(axis=1, dtype=np.int64))
            if (self.shapes < 0).any() or len(self.shapes) != len(self.kept):
                raise ValueError("its index is inconsistent")
            self._data = np.memmap(folder / "data.bin", dtype, "r", shape=(self._ends[-1],)) if len(self) else None
        except Exception as error:  # zipfile and NumPy raise whatever damaged bytes lead them to
            raise InputError(f"the cache {folder} is damaged ({error}); delete that folder") from error

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, index: int) -> np.ndarray:
        shape, end = self.shapes[index], self._ends[index]
        assert self._data is not None
        return np.asarray(self._data[end - shape.prod() : end].reshape(shape))

    def __reduce__(self) -> tuple[type["Store"], tuple[Path]]:
        return Store, (self.folder,)


def write_store(
    folder: Path,
    arrays: Iterable[np.ndarray | InputError],
    paths: Sequence[Path] = (),
    remarks: Callable[[], Iterable[str]] = tuple,
) -> None:
    """Write a store: ``arrays`` of one type and number of axes, some of them missing for a reason.

    Args:
        folder: that exists.
        arrays: in the order of the sources.
        paths: of the sources, which the reasons begin with.
        remarks: on the arrays, asked for after the last of them.
    """
    shapes: dict[int, tuple[int, ...]] = {}
    reasons: dict[int, str] = {}
    dtypes: set[np.dtype[Any]] = set()
    final = True
    with (folder / "data.bin").open("wb") as data:
        for i, array in enumerate(arrays):
            if isinstance(array, InputError):
                final = final and not isinstance(array, OverrunError)
                reasons[i] = str(array).removeprefix(f"{paths[i]}: ") if paths else str(array)
                continue
            shapes[i] = array.shape
            dtypes.add(array.dtype)
            data.write(np.ascontiguousarray(array).data)
    if len(dtypes) > 1:
        raise ValueError(f"a store holds one type of array, got {sorted(map(str, dtypes))}")
    np.savez(
        folder / "index.npz",
        shapes=np.array(list(shapes.values()), dtype=np.int64).reshape(len(shapes), -1 if shapes else 0),
        kept=np.array(list(shapes), dtype=np.int64),
        type=np.empty(0, next(iter(dtypes), None)),
        remarks=np.array(list(remarks()), dtype=np.str_),
        skipped=np.array(list(reasons), dtype=np.int64),
        final=np.array(final),
        reasons=np.array(list(reasons.values()), dtype=np.str_),
    )
