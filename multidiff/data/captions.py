"""Captions and other facts about the files of a folder: text files beside them, or a ``metadata.jsonl``."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from multidiff.errors import InputError

METADATA = "metadata.jsonl"
OWN_KEYS = ("file_name", "text", "label")


@dataclass(frozen=True)
class Facts:
    """Caption and metadata of one file.

    Attributes:
        caption: a text, or None.
        label: a class, or None.
        others: further columns of the metadata, strings and numbers.
    """

    caption: str | None = None
    label: str | None = None
    others: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


def facts_of(root: Path, paths: Sequence[Path], everything: set[Path]) -> list[Facts]:
    """The facts of each of ``paths``; a line of the metadata takes precedence over a text file.

    Args:
        root: the folder.
        paths: of the data files below it.
        everything: all files below it.

    Raises:
        InputError: a caption cannot be read, or belongs to no file.
    """
    facts = {
        path: Facts(caption=_text(path.with_suffix(".txt")).strip())
        for path in paths
        if path.with_suffix(".txt") in everything
    }
    if root / METADATA in everything:
        facts |= _listed(root, set(paths))
    return [facts.get(path, Facts()) for path in paths]


def _listed(root: Path, paths: set[Path]) -> dict[Path, Facts]:
    found = {}
    for number, line in enumerate(_text(root / METADATA).split("\n"), start=1):
        if not line.strip():
            continue
        name, facts = _parsed(line, f"{root / METADATA}, line {number}")
        if root / name not in paths:
            raise InputError(f"{root / METADATA}, line {number}: there is no file {name!r} to train on")
        found[root / name] = facts
    return found


def _parsed(line: str, where: str) -> tuple[str, Facts]:
    """The file name and the facts of one line of metadata."""
    try:
        item: Any = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where}: not JSON ({error})") from error
    name, text, label = (item.get(key) for key in OWN_KEYS) if isinstance(item, dict) else (None, None, None)
    if not isinstance(name, str) or not isinstance(text, str | None) or not isinstance(label, str | int | None):
        raise InputError(f'{where}: expected {{"file_name": "...", "text": "..."}}, got {line.strip()[:80]}')
    others = {key: value for key, value in item.items() if key not in OWN_KEYS}
    unfit = next((key for key, value in others.items() if not isinstance(value, str | int | float | None)), None)
    if unfit:
        raise InputError(f"{where}: {unfit!r} must be a text or a number, got {str(others[unfit])[:80]}")
    return name, Facts(None if text is None else text.strip(), None if label is None else str(label), others)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not text in UTF-8") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
