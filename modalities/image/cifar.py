"""The Python files of CIFAR-10 and CIFAR-100, read without letting them run code.

Krizhevsky (2009), https://www.cs.toronto.edu/~kriz/cifar.html.
"""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from multidiff.errors import InputError


@dataclass(frozen=True)
class _Layout:
    """Where one of the two data sets keeps what."""

    folder: str
    splits: dict[str, tuple[str, ...]]
    labels: bytes
    meta: str
    names: bytes


_LAYOUTS = (
    _Layout(
        folder="cifar-10-batches-py",
        splits={"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)},
        labels=b"labels",
        meta="batches.meta",
        names=b"label_names",
    ),
    _Layout(
        folder="cifar-100-python",
        splits={"train": ("train",), "test": ("test",)},
        labels=b"fine_labels",
        meta="meta",
        names=b"fine_label_names",
    ),
)


def read_cifar(root: Path, split: str) -> tuple[np.ndarray, list[int], tuple[str, ...]]:
    """Images ``(N, 3, 32, 32)`` in uint8, the class of each, and the names of the classes.

    Args:
        root: the folder of the batches, or the one above it.
        split: "train" or "test".

    Raises:
        InputError: naming the file that is missing, damaged, or would need more than plain data to unpickle.
    """
    folder, layout = _found(root)
    batches = [_batch(folder / name, layout.labels) for name in layout.splits[split]]
    names = _names(folder / layout.meta, layout.names)
    images = np.concatenate([images for images, _ in batches])
    labels = [label for _, labels in batches for label in labels]
    if max(labels) >= len(names):
        raise InputError(f"{folder / layout.meta}: names {len(names)} classes, and there is a label {max(labels)}")
    return images, labels, names


def _found(root: Path) -> tuple[Path, _Layout]:
    for layout in _LAYOUTS:
        for folder in (root, root / layout.folder):
            if (folder / layout.meta).is_file():
                return folder, layout
    metas = " or ".join(layout.meta for layout in _LAYOUTS)
    raise InputError(f"no CIFAR in {root}/: expected the Python version, with {metas} and its batches")


def _batch(path: Path, labels_name: bytes) -> tuple[np.ndarray, list[int]]:
    batch = _unpickled(path)
    data, labels = _entry(path, batch, b"data"), _entry(path, batch, labels_name)
    if not (isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.shape == (len(labels), 3 * 32 * 32)):
        raise InputError(f"{path}: expected {len(labels)} rows of 3072 bytes, one for each label")
    if not labels or not all(isinstance(label, int) and label >= 0 for label in labels):
        raise InputError(f"{path}: expected labels that count from 0")
    return data.reshape(-1, 3, 32, 32), labels


def _names(path: Path, key: bytes) -> tuple[str, ...]:
    names = _entry(path, _unpickled(path), key)
    if not all(isinstance(name, bytes) for name in names):
        raise InputError(f"{path}: expected names of classes, as bytes")
    return tuple(name.decode() for name in names)


def _entry(path: Path, batch: Any, name: bytes) -> Any:
    if not isinstance(batch, dict) or name not in batch:
        raise InputError(f"{path}: has no {name.decode()!r}, so it is not a file of this version of CIFAR")
    return batch[name]


def _unpickled(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return _DataUnpickler(file, encoding="bytes").load()
    except pickle.UnpicklingError as error:
        raise InputError(f"{path}: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except (EOFError, ValueError, TypeError, LookupError, AttributeError, OverflowError, MemoryError) as error:
        raise InputError(f"{path}: truncated or damaged") from error


def _encoded(text: str, encoding: str) -> bytes:
    """Stands in for ``_codecs.encode``, by which protocol 2 writes bytes."""
    return text.encode("latin1")


_REBUILD, _FROM_BUFFER = np.empty(0).__reduce__()[0], np.empty(0).__reduce_ex__(5)[0]
_ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _REBUILD,
    ("numpy._core.multiarray", "_reconstruct"): _REBUILD,
    ("numpy.core.numeric", "_frombuffer"): _FROM_BUFFER,
    ("numpy._core.numeric", "_frombuffer"): _FROM_BUFFER,
    ("_codecs", "encode"): _encoded,
}


class _DataUnpickler(pickle.Unpickler):
    """Rebuilds arrays and plain values, and refuses all else: a data file must not run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"refused, because it would run {module}.{name}: not a file of CIFAR")
        return _ALLOWED[module, name]
