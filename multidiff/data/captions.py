"""Captions and other facts about the files of a folder: text files beside them, or a ``metadata.jsonl``."""

import codecs
import logging
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from multidiff.configuration import parse_json
from multidiff.errors import InputError, first_of

METADATA = "metadata.jsonl"
OWN_KEYS = ("file_name", "text", "label")

SHOWN = 5
"""Files with an empty caption that a message names."""

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


def facts_of(root: Path, paths: Sequence[Path], everything: set[Path]) -> tuple[list[Facts], list[str]]:
    """The facts of each of ``paths``; a line of the metadata takes precedence over a text file.

    The caption of a file whose text cannot be read is empty. An empty caption is none: it is counted with those that
    are missing.

    Args:
        root: the folder.
        paths: of the data files below it.
        everything: all files below it.

    Returns:
        The facts, and a line for each text that could not be read.

    Raises:
        InputError: the metadata cannot be read, or a line belongs to no file.
    """
    facts, unread = _beside(root, paths, everything)
    if root / METADATA in everything:
        facts |= _listed(root, paths)
    without = [path for path in paths if path not in facts or not facts[path].caption]
    empty = [
        name_in(root, path) for path in without if path in facts and facts[path].caption == "" and path not in unread
    ]
    if without and (empty or len(without) < len(paths)):
        named = f"; empty captions: {first_of(empty, SHOWN)}" if empty else ""
        log.warning("%s/: %d of %d files have no caption%s", root, len(without), len(paths), named)
    return [facts.get(path, Facts()) for path in paths], list(unread.values())


def _beside(root: Path, paths: Sequence[Path], everything: set[Path]) -> tuple[dict[Path, Facts], dict[Path, str]]:
    """The captions in text files beside ``paths``, and why some cannot be read."""
    texts = {_stem(path): path for path in everything if path.suffix.lower() == ".txt"}
    facts: dict[Path, Facts] = {}
    unread: dict[Path, str] = {}
    for path in paths:
        if text := texts.get(_stem(path)):
            try:
                facts[path] = Facts(caption=read_text(text, name_in(root, text)).strip())
            except InputError as error:
                facts[path] = Facts(caption="")
                unread[path] = str(error)
    return facts, unread


def name_in(root: Path, path: Path) -> str:
    """The name of a file in messages and metadata: its path from the root, with forward slashes."""
    return path.relative_to(root).as_posix()


def text_of(content: bytes, name: str) -> str:
    """The text in a file: UTF-8, with or without a byte order mark, or UTF-16 with one.

    Raises:
        InputError: it is neither; no other encoding is guessed.
    """
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: not text in UTF-8") from error
    if text.count("\0") > len(text) // 4:
        raise InputError(f"{name}: not text in UTF-8, perhaps UTF-16 without a byte order mark")
    return text


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
    by_name = {text_form(name_in(root, path)): path for path in paths}
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


def read_text(path: Path, name: str | None = None) -> str:
    """The text of a file, by the rule of `text_of`.

    Args:
        path: of the file.
        name: of the file in messages; by default its path.

    Raises:
        InputError: it cannot be read, or is in another encoding.
    """
    name = name or str(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}") from error
    return text_of(content, name)
