"""The weights that a training takes from the trained model that it starts from."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from multidiff.conditioners import Conditioner
from multidiff.errors import InputError
from multidiff.model import Model
from multidiff.nn.embeddings import FURTHER
from multidiff.sampling.model_directory import load
from multidiff.training.origin import BY_ITSELF, check_equal

Weights = dict[str, Tensor]

ROWS = (".embedding.weight", ".position")
"""Ends of the names of weights with a row for each class, word or position of a field."""

COLUMNS = "embedding.vector.weight"
"""End of the name of the weight with a column for each component of the condition vector."""


def start_from(model: Model, settings: Mapping[str, Any], shape: tuple[int, ...]) -> None:
    """Give ``model`` the weights of the trained model that the setting ``init`` names; None changes nothing.

    Its samples may have another size, such as fewer pixels, if the network has the same weights for both. Weights of
    further inputs, such as a second time, may be missing from it: they are zero at first, without effect. Further
    classes and words keep their fresh weights. Fields that make a vector, such as classes, may differ: the vector of a
    further one has no effect at first, and one that is not read any more is left out. Fields that make tokens may not,
    but another kind of conditioner may read them, such as another text encoder, which starts with fresh weights.

    Raises:
        InputError: the model at ``init`` differs in channels, axes, codec, prediction, fields with tokens or weights.
    """
    if settings.get("init") is None:
        return
    path = str(settings["init"])
    pipeline = load(path, "cpu")
    if pipeline.shape[0] != shape[0] or len(pipeline.shape) != len(shape):
        raise InputError(
            f"init: {path} generates {pipeline.shape} and the model to train {shape}: the channels "
            "(the first number) and the number of axes must be equal"
        )
    check_equal("model", path, settings, ("codec", "prediction"))
    own = model.state_dict()
    _check_fields(path, pipeline.model.conditioner, model.conditioner)
    given = _with_fields(pipeline.model, model)
    given |= {name: value for name, value in own.items() if FURTHER in name and name not in given}
    given |= {
        name: _further_rows(given[name], weight) for name, weight in own.items() if _has_rows(name) and name in given
    }
    for name in {**own, **given}:
        theirs, ours = (tuple(state[name].shape) if name in state else "none" for state in (given, own))
        if theirs != ours:
            raise InputError(
                f"init: {path} has {name} of shape {theirs} and the model to train {ours}: set backbone and "
                f"conditioning as in that model, {BY_ITSELF}"
            )
    model.load_state_dict(given)


def _check_fields(path: str, theirs: Conditioner, ours: Conditioner) -> None:
    """Refuse vectors of a field that differ in size, and fields with tokens that only one of both reads.

    Raises:
        InputError: there are such fields.
    """
    before, now = ({part.field: part for part in each} for each in (theirs, ours))
    for field in before.keys() & now.keys():
        size, own = before[field].vector_dim, now[field].vector_dim
        if size != own:
            way = f"{field}.dim={size}" if size and own else f"{field} as in that model"
            raise InputError(
                f"init: {path} has vectors of size {size} for the field {field} and the model to train {own}: "
                f"set conditioning.{way}"
            )
    for field, part in {**before, **now}.items():
        if part.token_dim and not (field in before and field in now):
            change = "left out of" if field in before else "added to"
            raise InputError(
                f"init: the condition {field} cannot be {change} those of {path}, since the network has layers for it: "
                "set conditioning as in that model"
            )


def _with_fields(first: Model, model: Model) -> Weights:
    """The weights of ``first``, but for the fields that the conditioner of ``model`` does not read in the same way."""
    theirs, ours = first.conditioner, model.conditioner
    given, own = first.state_dict(), model.state_dict()
    both = theirs.parts.keys() & ours.parts.keys()
    shared = {name for name in both if type(theirs.parts[name]) is type(ours.parts[name])}
    for field in set(theirs.parts) - shared:
        given = {name: weight for name, weight in given.items() if not name.startswith(_of_field(field))}
    for field in set(ours.parts) - shared:
        given |= {name: weight for name, weight in own.items() if name.startswith(_of_field(field))}
    kept = {name: weight for name, weight in given.items() if not name.endswith(COLUMNS)}
    maps = {name: weight for name, weight in own.items() if name.endswith(COLUMNS)}
    return kept | {name: _with_columns(given.get(name), weight, theirs, ours) for name, weight in maps.items()}


def _with_columns(given: Tensor | None, own: Tensor, theirs: Conditioner, ours: Conditioner) -> Tensor:
    """The map ``given`` of the condition vectors of ``theirs`` for those of ``ours``, zero for further fields."""
    before = {} if given is None else {field: given[:, columns] for field, columns in theirs.columns().items()}
    parts = [before.get(field, torch.zeros_like(own[:, columns])) for field, columns in ours.columns().items()]
    return torch.cat(parts, dim=1)


def _of_field(name: str) -> str:
    """The beginning of the names of a model's weights for the field of this module."""
    return f"conditioner.parts.{name}."


def _has_rows(name: str) -> bool:
    """Whether the weight ``name`` of a model has a row for each class, word or position of a field."""
    return name.startswith("conditioner.") and name.endswith(ROWS)


def _further_rows(given: Tensor, fresh: Tensor) -> Tensor:
    """``given`` with the last rows of ``fresh``, where that has more rows of the same size."""
    return torch.cat([given, fresh[len(given) :]]) if given.shape[1:] == fresh.shape[1:] else given
