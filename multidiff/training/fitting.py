"""Settings that follow from the data and the machine, where a config leaves them open."""

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

from torch import nn

from multidiff.configuration import target_class
from multidiff.data.labels import Labels
from multidiff.training.memory import StepMemory, largest_batch, room_of
from multidiff.training.settings import is_missing

FOUND = "found"
"""In the group ``conditioning``: only the fields that the data have, and the condition for each column of numbers."""

LENGTH = "2h"
"""Budget of a training without another length."""

WARMUP, PART = 100, 10
"""Steps over which the learning rate rises, and of how much of a training at most one part."""

GUIDANCE = 2.0
"""Scale of a model with conditions."""

DROPOUT = 0.1
"""Of a backbone for few data, which are soon memorised."""

FEW = 10_000
"""Samples."""

BATCH, PICTURES_ON_GPU = 16, 128
"""Samples a step at most, and of pictures on a GPU."""


def fitted_length(settings: Mapping[str, Any], before: Mapping[str, Any] | None) -> dict[str, Any]:
    """``settings`` with a budget, if they have neither a budget nor ``trainer.max_steps``: `LENGTH`.

    A run that is resumed without a budget, and with as many ``trainer.max_steps`` as ``before``, keeps its budget.
    """
    steps = settings["trainer"].get("max_steps")
    if settings["budget"] is None and before is not None and steps == before["trainer"].get("max_steps"):
        settings = {**settings, "budget": before.get("budget")}
    if steps is None and settings["budget"] is None:
        return {**settings, "budget": LENGTH}
    return dict(settings)


def fitted_warmup(settings: Mapping[str, Any], before: Mapping[str, Any] | None) -> dict[str, Any]:
    """``settings`` with the steps of the warm-up, if they leave them open: `WARMUP`, or a tenth of a shorter training.

    Under a budget, `Budget` shortens them. A run that is resumed keeps those of ``before``.
    """
    if settings["warmup_steps"] is not None:
        return dict(settings)
    if before is not None:
        return {**settings, "warmup_steps": before.get("warmup_steps", WARMUP)}
    steps = settings["trainer"]["max_steps"]
    known = settings["budget"] is None and isinstance(steps, int)
    return {**settings, "warmup_steps": min(WARMUP, steps // PART) if known else WARMUP}


def fitted_conditions(
    settings: Mapping[str, Any], before: Mapping[str, Any] | None, fields: Mapping[str, Sequence[Any]]
) -> dict[str, Any]:
    """``settings`` with the conditions that the ``fields`` of the data allow, and the scale of their guidance.

    A field, or a column of numbers, is a condition if at most ``max_missing`` of the samples lack it and two samples
    differ in it. A run that is resumed keeps its conditions.
    """
    conditioning, guidance = dict(settings["conditioning"] or {}), settings["guidance"]
    if number := conditioning.pop(FOUND, None):
        kept = (before or {}).get("conditioning")
        limit = settings["max_missing"]
        numbers = [name for name, column in fields.items() if name not in conditioning and _is_of_numbers(column)]
        conditioning |= {name: dict(number) for name in numbers}
        chosen = kept if kept is not None else [name for name in conditioning if _tells(fields.get(name, ()), limit)]
        conditioning = {name: part for name, part in conditioning.items() if name in chosen}
    if guidance is None:
        guidance = GUIDANCE if conditioning else 1.0
    return {**settings, "conditioning": conditioning, "guidance": guidance}


def fitted_backbone(
    config: Mapping[str, Any],
    before: Mapping[str, Any] | None,
    shape: Sequence[int],
    samples: int,
    accelerated: bool,
) -> dict[str, Any]:
    """The backbone with values for the settings that are None, where the network has a rule for them.

    Args:
        config: of the backbone.
        before: that of the run that is resumed, which is kept.
        shape: of x0.
        samples: of the training data.
        accelerated: whether it trains on a GPU.
    """
    missing = [name for name, value in config.items() if value is None]
    rules = {"dropout": DROPOUT if samples < FEW else 0.0}
    fitted = getattr(target_class(config, nn.Module), "fitted", None)
    if fitted is not None and set(missing) - set(rules):
        rules |= fitted(config, shape, accelerated)
    kept = rules if before is None else before
    return {**config, **{name: kept.get(name) for name in missing}}


def fitted_batch(
    loader: Mapping[str, Any],
    before: Mapping[str, Any] | None,
    shape: Sequence[int],
    memory: Callable[[int], StepMemory | None],
    kind: str,
) -> dict[str, Any]:
    """``loader`` with the samples of a step, if it leaves them open: `BATCH`, or fewer if the memory does not suffice.

    Args:
        loader: its settings.
        before: those of the run that is resumed, which are kept.
        shape: of x0; with three axes, it is that of a picture.
        memory: expected for a step, by the samples of a batch; None if unknown.
        kind: of the device, see `device_kind`.
    """
    if loader["batch_size"] is not None:
        return dict(loader)
    if before is not None:
        return {**loader, "batch_size": before["batch_size"]}
    most = PICTURES_ON_GPU if kind != "cpu" and len(shape) == 3 else BATCH
    return {**loader, "batch_size": max(1, largest_batch(memory, room_of(kind), most))}


def _tells(column: Sequence[Any], limit: float) -> bool:
    if isinstance(column, Labels):
        return len(set(column.indices.tolist())) > 1
    known = [value for value in column if not is_missing(value)]
    return len(known) >= (1 - limit) * len(column) and len(set(known)) > 1


def _is_of_numbers(column: Sequence[Any]) -> bool:
    return not isinstance(column, Labels) and all(is_missing(value) or _is_number(value) for value in column)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
