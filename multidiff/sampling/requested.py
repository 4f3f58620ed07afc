"""What a request may set, and its fields, checked against those that a model reads."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np

from multidiff.errors import InputError, few_of
from multidiff.sampling.conditions import plain
from multidiff.sampling.guidance import Fields, Guide

Names = str | int | float | Sequence[str | int | float]
"""A value for all samples, or several that the samples take in turn."""


class Settings(TypedDict, total=False):
    """The keyword arguments that every way of sampling shares; `Pipeline.plan` explains each."""

    label: Names | None
    prompt: Names | None
    prompts: Sequence[str] | None
    fields: Mapping[str, Names] | None
    negative: str | int | Fields | None
    sampler: str | None
    steps: int | None
    guidance: Guide | None
    guidance_rule: str | None
    guidance_field: str | None
    batch_size: int | None
    precision: str | None
    compile: bool | None


def sorted_out(
    reads: Sequence[str], fields: Mapping[str, Names], arguments: Mapping[str, Names | None]
) -> tuple[dict[str, Names], dict[str, Names]]:
    """The fields of the model, and the settings of its modality, among ``fields`` and ``arguments``."""
    given = {name: value for name, value in arguments.items() if value is not None}
    twice = next((name for name, value in given.items() if name in fields and value), None)
    if twice:
        raise InputError(f"{twice} is given twice: as an argument, and in the fields")
    known = {name: value for name, value in fields.items() if name in reads and value is not None}
    return given | known, {name: plain(value) for name, value in fields.items() if name not in reads}


def samples_of(reads: Sequence[str], n: int, given: Mapping[str, Names]) -> tuple[Fields, ...]:
    """The fields of each of ``n`` samples.

    Raises:
        InputError: there are fewer samples than a field has values, or a field that the model does not take.
    """
    columns: dict[str, list[Any]] = {}
    for name, value in given.items():
        if name not in reads:
            takes = few_of([_option(field) for field in reads], _option(name)) or "no condition"
            raise InputError(f"this model was not trained with a {_option(name)}: it takes {takes}")
        several = value if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str) else [value]
        columns[name] = [plain(each) for each in several]
        if not columns[name]:
            raise InputError(f"the list of values for {name} is empty")
        if len(columns[name]) > n:
            raise InputError(
                f"{len(columns[name])} values of {_option(name)} need as many samples, and n is {n}: raise -n to "
                f"{len(columns[name])} or more, or give fewer values"
            )
    return tuple({name: values[i % len(values)] for name, values in columns.items()} for i in range(n))


def _option(name: str) -> str:
    """What a field is called where values are given."""
    return "prompt" if name == "caption" else name


def negative_of(reads: Sequence[str], negative: str | int | Fields | None, guided: str | None) -> Fields:
    """The negative condition by field; one that is not a mapping is of the field that guidance follows."""
    if negative is None or isinstance(negative, Mapping):
        unknown = [name for name in negative or {} if name not in reads]
        if unknown:
            raise InputError(
                f"no negative {unknown[0]} is possible: this model takes {few_of(reads, unknown[0]) or 'no condition'}"
            )
        return negative or {}
    if not reads:
        raise InputError("this model takes no condition, so it takes no negative one either")
    if not isinstance(plain(negative), str | int | float):
        raise InputError(f"the negative condition is one label, one prompt or a mapping of fields, not {negative!r}")
    return {negative_field(reads, guided): str(negative)}


def negative_field(reads: Sequence[str], guided: str | None) -> str:
    """The field of a negative condition that names none; ``guided`` is the one that guidance follows, if it is one."""
    return guided or next((name for name in ("caption", "label") if name in reads), reads[0])
