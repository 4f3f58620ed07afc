"""Metadata inside the files of shapes, as JSON: a comment in PLY and OBJ, scene extras in GLB, an array in NPZ."""

import json
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile

from modalities.shape.arrays import read_npz
from multidiff.errors import InputError

KEY = "multidiff"
"""First word of the comment, and the name in the extras."""

NPZ_KEY = "metadata"

_COMMENTS = {".ply": f"comment {KEY} ".encode(), ".obj": f"# {KEY} ".encode()}
"""What the line of metadata begins with."""

_HEADER_ENDS = (b"end_header", b"v ")
"""What the first line after the header begins with."""


def comment(metadata: Mapping[str, Any]) -> str:
    """The line of text that holds ``metadata`` in a PLY or an OBJ."""
    return f"{KEY} {json.dumps(dict(metadata))}"


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata in a file; empty for the files of other programs and for formats with no place for it.

    Raises:
        InputError: naming the file, if it cannot be opened.
    """
    suffix = path.suffix.lower()
    try:
        with path.open("rb") as file:
            found = _found(file, suffix)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        EOFError,
        RuntimeError,
        BadZipFile,
        zlib.error,
        struct.error,
    ):  # another program's
        return {}
    return found if isinstance(found, dict) else {}


def _found(file: BinaryIO, suffix: str) -> Any:
    if suffix in _COMMENTS:
        return json.loads(_comment_of(file, _COMMENTS[suffix]))
    if suffix == ".glb":
        return _glb_extras(file)[KEY]
    if suffix == ".npz":
        return json.loads(str(read_npz(file, (NPZ_KEY,))[NPZ_KEY]))
    return {}


def _comment_of(file: BinaryIO, start: bytes) -> bytes:
    """The rest of the line of the header that begins with ``start``; ``{}`` if there is none."""
    for line in file:
        if line.startswith(start):
            return line.removeprefix(start)
        if line.startswith(_HEADER_ENDS):
            break
    return b"{}"


def _glb_extras(file: BinaryIO) -> Any:
    """The extras of the scene, from the JSON chunk behind the header of 12 bytes."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    magic, _, length, kind = struct.unpack("<4s8sI4s", file.read(20))
    if length > size or (magic, kind) != (b"glTF", b"JSON"):
        raise ValueError("not a GLB")
    return scene_extras(json.loads(file.read(length)))


def scene_extras(tree: dict[str, Any]) -> dict[str, Any]:
    """The extras of the default scene in the JSON of a glTF."""
    scenes = tree.get("scenes") or [{}]
    return scenes[tree.get("scene", 0)].get("extras", {})
