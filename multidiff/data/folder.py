"""A folder of files as a data set: which files, of which class, with which caption.

::

    root/a.png  root/b.png                     no classes
    root/cats/a.png  root/dogs/deep/b.png      classes "cats" and "dogs": the first folder below the root
    root/a.png  root/a.txt                     a caption beside its file
    root/metadata.jsonl                        captions, one {"file_name": "cats/a.png", "text": "..."} a line
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multidiff.errors import InputError

METADATA = "metadata.jsonl"
_SHOWN = 10


@dataclass(frozen=True)
class Entry:
    """A file, with what its place and its neighbours say of it.

    Attributes:
        path: below the root it was found in.
        label: name of its class; None in a folder without classes.
        caption: empty, which is the null condition, where only other files have one; None where no file has one.
    """

    path: Path
    label: str | None
    caption: str | None


def path_of(root: str | Path) -> Path:
    """The path that a setting names; a name such as 2024 comes as a number."""
    return Path(str(root)).expanduser()


def find_entries(root: Path, suffixes: Sequence[str], kind: str) -> tuple[Entry, ...]:
    """The files below ``root`` whose suffix, in any case, is one of ``suffixes``, in the order of their paths.

    Hidden files and folders are left out. The sub-folders of the root are classes unless a file lies in the root
    itself: they are then only an arrangement, and nothing has a label. A caption in ``metadata.jsonl`` goes before one
    in a text file of the same name.

    Args:
        root: a folder.
        suffixes: in lower case, with their dots.
        kind: what the files are, for messages: "image".

    Raises:
        InputError: there is no such folder or no such file in it, or a caption cannot be read or belongs to no file.
    """
    everything = _files(root)
    paths = [path for path in everything if path.suffix.lower() in suffixes]
    if not paths:
        unfit = f"suffix not one of {' '.join(suffixes)}"
        raise nothing_readable(kind, root, {name_in(root, path): unfit for path in everything})
    labels = _labels(root, paths)
    captions = _captions(root, paths, set(everything))
    return tuple(map(Entry, paths, labels, captions))


def class_indices(entries: Iterable[Entry]) -> tuple[list[int] | None, tuple[str, ...]]:
    """The class of each entry as an index into the sorted names of all classes; None and no names without classes."""
    labels = [entry.label for entry in entries if entry.label is not None]
    names = tuple(sorted(set(labels)))
    index = {name: i for i, name in enumerate(names)}
    return [index[label] for label in labels] or None, names


def captions_of(entries: Iterable[Entry]) -> list[str] | None:
    """The caption of each entry; None if none has one."""
    return [entry.caption for entry in entries if entry.caption is not None] or None


def nothing_readable(kind: str, root: Path, reasons: Mapping[str, str]) -> InputError:
    """The error of a folder with nothing in it to learn from; ``reasons`` says of each file why."""
    if not reasons:
        return InputError(f"no readable {kind} in {root}/: the folder is empty")
    tried = f"{len(reasons)} file{'s' if len(reasons) > 1 else ''} tried"
    return InputError(f"no readable {kind} in {root}/: {tried} ({first_few(reasons)})")


def first_few(reasons: Mapping[str, str]) -> str:
    """``name: reason; name: reason; and 12 more``."""
    shown = [f"{name}: {reason}" for name, reason in list(reasons.items())[:_SHOWN]]
    hidden = len(reasons) - len(shown)
    return "; ".join([*shown, f"and {hidden} more"] if hidden else shown)


def name_in(root: Path, path: Path) -> str:
    """How messages and metadata call a file: its path from the root, with forward slashes."""
    return path.relative_to(root).as_posix()


def _files(root: Path) -> list[Path]:
    """Every file below ``root`` that is not hidden, sorted by its name in the root."""
    if not root.exists():
        raise InputError(f"no folder {root}: set data.root to one that exists")
    if not root.is_dir():
        raise InputError(f"{root} is a file: set data.root to the folder that holds the data")
    try:
        return sorted(_walk(root, frozenset()), key=lambda path: name_in(root, path))
    except OSError as error:
        raise InputError(f"cannot look into {error.filename}: {error.strerror}") from error


def _walk(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    """The files below ``folder``; links are followed, except back into one of the folders ``above``."""
    here = folder.resolve()
    if here in above:
        return
    with os.scandir(folder) as items:
        for item in items:
            if item.name.startswith("."):
                continue
            if item.is_dir():
                yield from _walk(folder / item.name, above | {here})
            elif item.is_file():
                yield folder / item.name


def _labels(root: Path, paths: Sequence[Path]) -> list[str | None]:
    folders = [path.relative_to(root).parts[:-1] for path in paths]
    return [parts[0] for parts in folders] if all(folders) else [None] * len(paths)


def _captions(root: Path, paths: Sequence[Path], everything: set[Path]) -> list[str | None]:
    captions = {
        path: _text(path.with_suffix(".txt")).strip() for path in paths if path.with_suffix(".txt") in everything
    }
    if root / METADATA in everything:
        captions |= _listed_captions(root, set(paths))
    return [captions.get(path, "") if captions else None for path in paths]


def _listed_captions(root: Path, paths: set[Path]) -> dict[Path, str]:
    """The captions in the metadata file; a line without a text gives none."""
    captions = {}
    for number, line in enumerate(_text(root / METADATA).split("\n"), start=1):
        if not line.strip():
            continue
        name, text = _listed(line, f"{root / METADATA}, line {number}")
        if root / name not in paths:
            raise InputError(f"{root / METADATA}, line {number}: there is no file {name!r} to train on")
        if text is not None:
            captions[root / name] = text.strip()
    return captions


def _listed(line: str, where: str) -> tuple[str, str | None]:
    """The file name and the text of one line of metadata."""
    try:
        item: Any = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where}: not JSON ({error})") from error
    name, text = (item.get("file_name"), item.get("text")) if isinstance(item, dict) else (None, None)
    if not isinstance(name, str) or not isinstance(text, str | None):
        raise InputError(f'{where}: expected {{"file_name": "...", "text": "..."}}, got {line.strip()[:80]}')
    return name, text


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not text in UTF-8") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
