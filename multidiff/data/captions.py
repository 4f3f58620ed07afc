"""Captions and other facts about the files of a folder: text files beside them, or a ``metadata.jsonl``."""

import logging
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from multidiff.configuration import parse_json
from multidiff.errors import InputError

METADATA = "metadata.jsonl"
OWN_KEYS = ("file_name", "text", "label")

log = logging.getLogger(__name__)


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
    captions = {_stem(path): path for path in everything if path.suffix.lower() == ".txt"}
    facts = {path: Facts(caption=read_text(captions[_stem(path)]).strip()) for path in paths if _stem(path) in captions}
    if root / METADATA in everything:
        facts |= _listed(root, paths)
    without = sum(path not in facts or facts[path].caption is None for path in paths)
    if 0 < without < len(paths):
        log.warning("%s/: %d of %d files have no caption", root, without, len(paths))
    return [facts.get(path, Facts()) for path in paths]


def text_form(name: str) -> str:
    """``name`` in Unicode's composed form (NFC), in which names are compared."""
    return unicodedata.normalize("NFC", name)


def is_text(name: str) -> bool:
    """Whether a name that a file system gave is Unicode; other bytes come as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _stem(path: Path) -> Path:
    """What a file and its caption share."""
    return Path(text_form(str(path.with_suffix(""))))


def _listed(root: Path, paths: Sequence[Path]) -> dict[Path, Facts]:
    by_name = {text_form(path.relative_to(root).as_posix()): path for path in paths}
    found = {}
    for number, line in enumerate(read_text(root / METADATA).split("\n"), start=1):
        if not line.strip():
            continue
        name, facts = _parsed(line, f"{root / METADATA}, line {number}")
        path = by_name.get(text_form(Path(name).as_posix()))
        if path is None:
            hint = "; use / between folders" if "\\" in name else ""
            raise InputError(f"{root / METADATA}, line {number}: there is no file {name!r} to train on{hint}")
        found[path] = facts
    return found


def _parsed(line: str, where: str) -> tuple[str, Facts]:
    """The file name and the facts of one line of metadata."""
    item: Any = parse_json(line, where)
    name, text, label = (item.get(key) for key in OWN_KEYS) if isinstance(item, dict) else (None, None, None)
    if not isinstance(name, str) or not isinstance(text, str | None) or not isinstance(label, str | int | None):
        raise InputError(f'{where}: expected {{"file_name": "...", "text": "..."}}, got {line.strip()[:80]}')
    others = {key: value for key, value in item.items() if key not in OWN_KEYS}
    unfit = next((key for key, value in others.items() if not isinstance(value, str | int | float | None)), None)
    if unfit:
        raise InputError(f"{where}: {unfit!r} must be a text or a number, got {str(others[unfit])[:80]}")
    return name, Facts(None if text is None else text.strip(), None if label is None else str(label), others)


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, with or without a byte order mark.

    Raises:
        InputError: it cannot be read, or is in another encoding.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not text in UTF-8") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    if "\0" in text:
        raise InputError(f"{path}: not text in UTF-8, perhaps in UTF-16")
    return text
