"""The files of a folder, with their classes, captions and other facts.

::

    root/a.png  root/b.png                     no classes
    root/cats/a.png  root/dogs/deep/b.png      classes "cats" and "dogs": the first folder below the root
    root/a.png  root/a.txt                     a caption beside its file
    root/metadata.jsonl                        one {"file_name": "cats/a.png", "text": "...", "tempo": 120} a line
"""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multidiff.data.captions import METADATA, Facts, facts_of, is_text, name_in, text_form
from multidiff.data.labels import Labels
from multidiff.errors import InputError

_SHOWN = 10

_FACTS = (".txt", ".jsonl", ".json")
"""Suffixes of files that say something about others."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A file with its class and facts.

    Attributes:
        path: below the root it was found in.
        label: name of its class; None in a folder without classes.
        facts: caption and metadata.
    """

    path: Path
    label: str | None
    facts: Facts


def path_of(root: str | Path) -> Path:
    """The path that a setting names; a name such as 2024 comes as a number."""
    return Path(str(root)).expanduser()


def find_entries(
    root: Path,
    suffixes: Sequence[str],
    kind: str,
    split: str | None = None,
    companions: Sequence[str] = (),
    max_unreadable: int = 10,
) -> tuple[Entry, ...]:
    """The files below ``root`` whose suffix, in any case, is one of ``suffixes``, in the order of their paths.

    Hidden files and folders are left out. The subfolders of the root are classes unless a file lies in the root
    itself; a ``label`` in the metadata takes precedence over the folder.

    Args:
        root: a folder.
        suffixes: in lower case, with their dots.
        kind: of the files, for messages: "image".
        split: take the files at ``root/CLASS/SPLIT/`` alone; None takes all.
        companions: suffixes of files that belong to others, such as textures.
        max_unreadable: how many captions may be empty because they cannot be read.

    Raises:
        InputError: there is no such folder or no such file in it, too many captions cannot be read, a line of metadata
            belongs to no file, or only some files have a class.
    """
    everything, special = _files(root)
    paths = [path for path in everything if path.suffix.lower() in suffixes]
    known = (*suffixes, *companions, *_FACTS)
    others = [path.suffix.lower() or "no suffix" for path in everything if path.suffix.lower() not in known]
    _report_others(root, kind, others + special)
    if not paths:
        unfit = f"suffix not one of {' '.join(suffixes)}"
        raise nothing_readable(kind, root, {name_in(root, path): unfit for path in everything})
    if split is not None:
        paths = [path for path in paths if path.relative_to(root).parts[1:2] == (split,)]
        if not paths:
            raise InputError(f"{root} holds no CLASS/{split}/FILE: set data.split to one of its folders")
    facts, unread = facts_of(root, paths, set(everything))
    report_unread(f"{root}/", unread, max_unreadable)
    return tuple(map(Entry, paths, _labels(root, paths, facts), facts))


def report_unread(where: str, lines: Sequence[str], max_unreadable: int) -> None:
    """Say in one line which captions cannot be read; ``lines`` has one for each.

    Raises:
        InputError: there are more than ``max_unreadable``.
    """
    summary = f"{where}: {len(lines)} captions cannot be read ({_first_lines(lines)})"
    if len(lines) > max_unreadable:
        raise InputError(f"{summary}: save them in UTF-8, or set data.max_unreadable to at least {len(lines)}")
    if lines:
        log.warning("%s: left empty", summary)


def _report_others(root: Path, kind: str, others: Sequence[str]) -> None:
    """Say in one line which kinds of files are passed over."""
    if others:
        listed = ", ".join(f"{count} {other}" for other, count in Counter(others).most_common(_SHOWN))
        log.warning("%s/: ignoring %d files that are not of the modality %s: %s", root, len(others), kind, listed)


def fields_of(entries: Sequence[Entry]) -> dict[str, Sequence[Any]]:
    """The fields of the files as columns: ``label``, ``caption``, and those of the metadata.

    A file without a caption has an empty one, which is the null condition; one without a value has None.
    """
    fields: dict[str, Sequence[Any]] = {}
    labels = [entry.label for entry in entries if entry.label is not None]
    if labels:
        fields["label"] = Labels.of(labels)
    if any(entry.facts.caption for entry in entries):
        fields["caption"] = [entry.facts.caption or "" for entry in entries]
    for name in dict.fromkeys(key for entry in entries for key in entry.facts.others):
        fields[name] = [entry.facts.others.get(name) for entry in entries]
    return fields


def nothing_readable(kind: str, root: Path, reasons: Mapping[str, str]) -> InputError:
    """The error of a folder with nothing to train on; ``reasons`` has one for each file."""
    if not reasons:
        return InputError(f"no readable {kind} in {root}/: the folder is empty")
    tried = f"{len(reasons)} file{'s' if len(reasons) > 1 else ''} tried"
    return InputError(f"no readable {kind} in {root}/: {tried} ({first_few(reasons)})")


def first_few(reasons: Mapping[str, str]) -> str:
    """``name: reason; name: reason; and 12 more``."""
    return _first_lines([f"{name}: {reason}" for name, reason in reasons.items()])


def _first_lines(lines: Sequence[str]) -> str:
    hidden = len(lines) - _SHOWN
    return "; ".join([*lines[:_SHOWN], f"and {hidden} more"] if hidden > 0 else lines)


def _no_text(name: bytes) -> str:
    """Why a name is not text: its bytes, or a locale of another encoding than UTF-8."""
    try:
        return f"the locale cannot show the name {name.decode()}: set PYTHONUTF8=1"
    except UnicodeDecodeError:
        return f"the name {name!r} is not UTF-8: rename that file or folder"


def _files(root: Path) -> tuple[list[Path], list[str]]:
    """The files below ``root`` that are not hidden, sorted by their names in the root; and what else there is."""
    if not root.exists():
        raise InputError(f"no folder {root}: set data.root to one that exists")
    if not root.is_dir():
        raise InputError(f"{root} is a file: set data.root to the folder that holds the data")
    found: list[Path] = []
    special: list[str] = []
    try:
        for path, regular in _walk(root, frozenset()):
            if regular:
                found.append(path)
            else:
                special.append("link to nothing" if path.is_symlink() else "pipe or device")
    except OSError as error:
        raise InputError(f"cannot read the folder {error.filename}: {error.strerror}") from error
    for path in found:
        if not is_text(name_in(root, path)):
            raise InputError(_no_text(os.fsencode(path)))
    return sorted(found, key=lambda path: name_in(root, path)), sorted(special)


def _walk(folder: Path, above: frozenset[Path]) -> Iterator[tuple[Path, bool]]:
    """What is below ``folder``, and whether it is a regular file; links are followed, except into ``above``."""
    here = folder.resolve()
    if here in above:
        return
    with os.scandir(folder) as items:
        for item in items:
            if item.name.startswith("."):
                continue
            if item.is_dir():
                yield from _walk(folder / item.name, above | {here})
            else:
                yield folder / item.name, item.is_file()


def _labels(root: Path, paths: Sequence[Path], facts: Sequence[Facts]) -> list[str | None]:
    folders = [path.relative_to(root).parts[:-1] for path in paths]
    classed = all(folders)
    labels = [
        text_form(fact.label) if fact.label else (text_form(parts[0]) if classed else None)
        for parts, fact in zip(folders, facts, strict=True)
    ]
    outside = [name_in(root, path) for path, parts in zip(paths, folders, strict=True) if not parts]
    if 0 < len(outside) < len(paths) and not any(labels):
        log.warning(
            "%s/: its subfolders are not used as classes, because %s lies beside them", root, _first_and_count(outside)
        )
    without = [name_in(root, path) for path, label in zip(paths, labels, strict=True) if label is None]
    if without and len(without) < len(paths):
        raise InputError(
            f"no class for {_first_and_count(without)} in {root}/, but other files have one: label every file in "
            f"{METADATA}, or none"
        )
    return labels


def _first_and_count(names: Sequence[str]) -> str:
    """``a.png and 12 more``."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
