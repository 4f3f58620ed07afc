"""What a model was made from, and the licence that it has from there."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multidiff.codecs.directory import find_codec
from multidiff.data.files import sha256
from multidiff.weights import CARD, CONFIG, WEIGHTS, find_model, read_config

HEAD = re.compile(r"---\n(?P<head>.*?)\n---\n", re.DOTALL)
"""The facts at the start of a model card."""

LICENCE = re.compile(r"^license:[ \t]*(\S.*)$", re.MULTILINE)

NAME = re.compile(r"^license_name:[ \t]*(\S.*)$", re.MULTILINE)
"""Of a licence that has no identifier of its own: the Hugging Face Hub calls it ``other``."""

OTHER = re.compile(r"other \((.+)\)")
"""Such a licence, as facts and messages tell it."""

ROLES = ("base", "init", "teacher", "codec")
"""What a model may have its licence from, the decisive one first."""


def licence_in(text: str) -> str | None:
    """The licence that the model card ``text`` states: an identifier, or ``other (NAME)``."""
    head = HEAD.match(text)
    licence, name = (pattern.search(head["head"]) if head else None for pattern in (LICENCE, NAME))
    if licence and name and licence[1].strip() == "other":
        return f"other ({name[1].strip()})"
    return licence[1].strip() if licence else None


def licence_head(licence: str) -> str:
    """The lines of the head of a model card that `licence_in` reads ``licence`` from; empty without one."""
    other = OTHER.fullmatch(licence)
    if other:
        return f"license: other\nlicense_name: {other[1]}\n"
    return f"license: {licence}\n" if licence else ""


def licence_of(directory: Path) -> str | None:
    """The licence that the card in the directory of a model or a pretrained pipeline states; None without one."""
    card = directory / CARD
    return licence_in(card.read_text("utf-8", errors="replace")) if card.is_file() else None


def lineage(init: str | None, teacher: str | None, codec: Mapping[str, Any]) -> dict[str, str]:
    """Facts about what a training starts with, for its model's config and card.

    Args:
        init: a run directory, a model directory or the name of a bundled model; None to start from nothing.
        teacher: likewise, a model that it learns from; None for none.
        codec: its config.

    Raises:
        InputError: there is no such model or codec.
    """
    found: dict[str, Any] = {}
    if init is not None:
        directory = find_model(Path(init).expanduser())
        found["init"] = init
        found["init_sha256"] = sha256(directory / WEIGHTS)
        found["init_licence"] = licence_of(directory)
        found["init_from"] = started_from(read_config(directory).get("training"), licence=False)
    if teacher is not None:
        found["teacher_licence"] = licence_of(find_model(Path(teacher).expanduser()))
    if "sha256" in codec and "path" in codec:
        found["codec_licence"] = _codec_licence(find_codec(str(codec["path"]), str(codec["sha256"])))
    return {name: value for name, value in found.items() if value}


def _codec_licence(directory: Path) -> str | None:
    """The licence of a codec; one inside of a packed model has that of the model."""
    packed = (directory.parent / CONFIG).is_file() and (directory.parent / WEIGHTS).is_file()
    return licence_of(directory) or (licence_of(directory.parent) if packed else None)


def inherited(training: Mapping[str, Any]) -> str:
    """The licence of what a model was made from, by the facts about its training; empty if that has none."""
    return next(iter(_licences(training).values()), "")


def _licences(training: Mapping[str, Any]) -> dict[str, str]:
    """The licences of what a model was made from, by role."""
    found = {role: training.get(f"{role}_licence") for role in ROLES}
    return {role: str(licence) for role, licence in found.items() if licence}


def started_from(training: Any, licence: bool = True) -> str | None:
    """The model that another one started from, such as ``emoji, licence cc-by-sa-4.0``; None if there is none.

    Args:
        training: facts about the training of the other one, as its config has them.
        licence: whether to tell the licence too.
    """
    if not isinstance(training, Mapping) or not training.get("init"):
        return None
    before = f", which started from {training['init_from']}" if training.get("init_from") else ""
    known = f", licence {training['init_licence']}" if licence and training.get("init_licence") else ""
    return f"{training['init']}{before}{known}"


def told(training: Mapping[str, Any]) -> str:
    """What a card says of it, as paragraphs of Markdown; empty if there is nothing to say."""
    lines = []
    if origin := started_from(training):
        credit = "; the card of that model says whom to credit" if training.get("init_licence") else ""
        lines.append(f"Started from {origin}{credit}.\n\n")
    licences = _licences(training)
    known = {licences.pop("init", None)}
    for role, licence in licences.items():
        if licence not in known:
            lines.append(f"Its {role} has the licence {licence}.\n\n")
            known.add(licence)
    return "".join(lines)
