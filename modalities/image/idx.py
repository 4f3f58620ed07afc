"""The IDX format of MNIST and its kin: a magic number, the dimensions, then bytes.

LeCun, Cortes and Burges, https://yann.lecun.com/exdb/mnist; plain or gzipped.
"""

import gzip
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from multidiff.errors import InputError

_UNSIGNED_BYTE = 8
_FILE = re.compile(
    r"(?:emnist-(?P<subset>\w+)-)?(?P<split>train|t10k|test)-(?P<content>images|labels)[-.]idx[13]-ubyte(?:\.gz)?"
)


@dataclass(frozen=True)
class IDXFiles:
    """The two files of one data set, and the subset of EMNIST that it is, if it is one."""

    images: Path
    labels: Path
    subset: str | None


def find_idx(root: Path, split: str, subset: str | None) -> IDXFiles:
    """The images and labels in ``root``; a plain file goes before a gzipped one.

    Raises:
        InputError: there are none, no labels, or several subsets and ``subset`` does not choose.
    """
    found: dict[str | None, dict[str, Path]] = {}
    for path in sorted(root.iterdir(), reverse=True):
        match = _FILE.fullmatch(path.name)
        if match and (match["split"] == "train") == (split == "train"):
            found.setdefault(match["subset"], {})[match["content"]] = path
    if subset is not None:
        found = {name: files for name, files in found.items() if name == subset}
    if not found:
        of = f"of the subset {subset!r} " if subset else ""
        raise InputError(f"no {split} files {of}in {root}/: expected names like train-images-idx3-ubyte.gz")
    if len(found) > 1:
        raise InputError(
            f"{root} holds several data sets: set data.subset to one of {', '.join(sorted(map(str, found)))}"
        )
    ((name, files),) = found.items()
    for content in ("images", "labels"):
        if content not in files:
            (other,) = files.values()
            raise InputError(f"{other} has no {content} beside it: put that file of the data set into {root} too")
    return IDXFiles(files["images"], files["labels"], name)


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The uint8 array of an IDX file with ``dimensions`` axes.

    Raises:
        InputError: naming the file, if it has another format or is truncated.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            magic = file.read(4)
            if magic != bytes([0, 0, _UNSIGNED_BYTE, dimensions]):
                expected = f"00 00 08 {dimensions:02x}"
                raise InputError(f"{path}: not bytes in IDX format: begins with {magic.hex(' ')}, not {expected}")
            shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
            count = int(np.prod(shape, dtype=object))
            content = file.read()
    except (EOFError, struct.error, zlib.error) as error:
        raise InputError(f"{path}: truncated or damaged") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    if len(content) != count:
        held = "fewer" if len(content) < count else "more"
        raise InputError(f"{path}: {held} bytes than the {count} of its dimensions {shape}")
    return np.frombuffer(content, np.uint8).reshape(shape)
