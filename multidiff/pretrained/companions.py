"""Parts of a pipeline that a single file lacks: files and folders beside it, and in the cache."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from multidiff.data.cache import default_cache
from multidiff.errors import InputError

ROOMS = ("", "../vae", "../clip", "../text_encoders")
"""Folders relative to that of the single file; the last three are those of ComfyUI."""


def companion(path: Path, name: str, part: Mapping[str, Any]) -> Path | None:
    """The folder that diffusers saved, or the file, that holds a part which the single file ``path`` lacks.

    Args:
        path: of the single file.
        name: of the part, such as ``text_encoder_2``, which is that of the folder.
        part: its description, whose ``beside`` are the names of files.
    """
    folders = [path.parent / name]
    files = [place / file for place in _places(path) for file in part["beside"]]
    return next((place for place in [*folders, *files] if place.is_dir() or place.is_file()), None)


def missing(path: Path, name: str, part: Mapping[str, Any]) -> InputError:
    """The error for a part that is neither in the file nor beside it."""
    wanted = [f"{name}/ of a folder of diffusers", *part["beside"][:1]]
    cached = f", or the latter into {default_cache() / 'weights'}/" if part["beside"] else ""
    return InputError(f"{path} holds no {name} ({part['class']}): put {' or '.join(wanted)} beside it{cached}")


def _places(path: Path) -> Iterator[Path]:
    yield from (path.parent / room for room in ROOMS)
    yield default_cache() / "weights"
