"""What a training that starts from a trained model takes over, and what in the data that model does not use."""

import re
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

from safetensors import safe_open

from multidiff.conditioners import FieldConditioner, LabelConditioner
from multidiff.configuration import target_class
from multidiff.data.dataset import Dataset
from multidiff.data.labels import Labels
from multidiff.errors import first_of
from multidiff.model import class_name
from multidiff.training.base_run import BaseRun
from multidiff.training.origin import origin
from multidiff.training.run import Run
from multidiff.training.settings import is_missing
from multidiff.weights import WEIGHTS, find_model

PLURALS = {"label": "classes", "caption": "captions"}
"""Fields that a message names in the plural."""

SHOWN = 8
"""New classes that are listed."""

VALUES = {"label": "the learned ones are kept", "caption": "the learned words are kept"}
"""What becomes of the values of a field that the data lack."""


def starts_from_another(run: BaseRun) -> bool:
    """Whether ``run`` starts from a trained diffusion model, and is not resumed."""
    return run.checkpoint is None and run.settings.get("init") is not None and "autoencoder" not in run.settings


def beginning(run: BaseRun) -> list[str]:
    """The model that ``run`` starts from and which fields, words and classes are new to it; nothing without one."""
    if not starts_from_another(run):
        return []
    init, config = str(run.settings["init"]), origin(run.settings, None)
    theirs = config.get("conditioning") or {}
    new = _resized(run, config)
    new += [f"the condition {field} is new" for field in run.settings["conditioning"] if field not in theirs]
    new += [f"its condition {field} is dropped" for field in theirs if field not in run.settings["conditioning"]]
    new += [
        f"its {class_name(theirs[field])} of the {field} is replaced by a new {class_name(part)}"
        for field, part in run.settings["conditioning"].items()
        if field in theirs and class_name(part) != class_name(theirs[field])
    ]
    new += [
        f"{len(names) - len(known)} of {len(names)} {_noun(part)} are new{_listed(part, names[len(known) :])}"
        for part, names, known in _names(run)
    ]
    return [f"{init} ({_parameters(run, init) / 1e6:.3g}M parameters)" + (f": {'; '.join(new)}" if new else "")]


def _resized(run: BaseRun, theirs: Mapping[str, Any]) -> list[str]:
    """What to tell if the samples of the first model, whose config is ``theirs``, have another size."""
    before = tuple(theirs["data_shape"])
    if not isinstance(run, Run) or before == run.pipeline.data_shape:
        return []
    known = {name: value for name, value in run.modality.settings_for(before).items() if name in run.settings["data"]}
    same = " ".join(f"data.{name}={value}".replace(" ", "") for name, value in known.items())
    first, own = ("x".join(map(str, shape)) for shape in (before, run.pipeline.data_shape))
    return [f"it was trained on samples of {first}{f' ({same})' if same else ''}, and these are {own}"]


def unused(run: BaseRun) -> Iterator[str]:
    """Fields that the data lack, fields that the model does not read, and new classes that may be known ones."""
    if not starts_from_another(run):
        return
    reads = run.settings["conditioning"]
    for field in reads:
        if not _has(run.dataset, field):
            kept = VALUES.get(field, "what the model has learned of it is kept")
            yield f"the data have no {PLURALS.get(field, field)}: {kept}"
    for field, plural in PLURALS.items():
        if field not in reads and _tells(run.dataset, field):
            yield f"the {plural} are not used: the model has no condition {field}"
    for part, names, known in _names(run):
        if _noun(part) == "classes":
            like = {_plain(name): name for name in known}
            for name in names[len(known) :]:
                if alike := like.get(_plain(name)):
                    yield f"the class {name!r} is new, but {alike!r} is known: rename the folder to use that class"


def _names(run: BaseRun) -> Iterator[tuple[Mapping[str, Any], list[str], list[str]]]:
    """Of each condition of ``run`` that lists its values: its config, those values, and those of the first model."""
    theirs = origin(run.settings, None).get("conditioning") or {}
    for field, part in run.settings["conditioning"].items():
        if field in theirs and class_name(part) == class_name(theirs[field]) and _has(run.dataset, field):
            names, known = _values(part), _values(theirs[field])
            if known and names[: len(known)] == known:
                yield part, names, known


def _values(part: Mapping[str, Any]) -> list[str]:
    """The classes or words in the config of a condition; empty for one without."""
    return [str(name) for name in part.get("vocabulary") or str(part.get("known") or "").split()]


def _noun(part: Mapping[str, Any]) -> str:
    return "classes" if issubclass(target_class(part, FieldConditioner), LabelConditioner) else "words"


def _listed(part: Mapping[str, Any], new: list[str]) -> str:
    return f": {first_of(new, SHOWN)}" if new and _noun(part) == "classes" else ""


def _has(dataset: Dataset, field: str) -> bool:
    """Whether the data have a value of ``field``."""
    column = dataset.fields.get(field, ())
    return isinstance(column, Labels) or not all(map(is_missing, column))


def _tells(dataset: Dataset, field: str) -> bool:
    """Whether the data have values of ``field``, and of classes more than one."""
    return _has(dataset, field) and (field != "label" or len(set(dataset.fields[field])) > 1)


def _plain(name: str) -> str:
    """A class without what people write differently."""
    return re.sub(r"[\s_]+", "", name).casefold()


def _parameters(run: BaseRun, init: str) -> int:
    """The number of parameters of the model at ``init``."""
    own = [name for name, _ in run.module.model.named_parameters()]
    with safe_open(find_model(Path(init).expanduser()) / WEIGHTS, "pt") as file:
        stored = set(own).intersection(file.keys())  # without the weights of further inputs
        return sum(prod(file.get_slice(name).get_shape()) for name in stored)
