"""By which settings a result was made: what the controls of a page say of its record, and what they cannot."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from multidiff.configuration import load_option
from multidiff.errors import InputError
from multidiff.sampling.guidance import Guidance
from multidiff.sampling.pipeline import Pipeline
from multidiff.sampling.requested import negative_field
from multidiff.sampling.sampler_config import chosen_sampler
from multidiff.sampling.speed import Speed, with_speed
from multidiff.studio.history import History
from multidiff.studio.models import Models
from multidiff.studio.request import Request, sampler_named, sampler_names

EDITS = ("strength", "mask", "extend")
"""Options of `multidiff sample` that the page has controls for."""


@dataclass(frozen=True)
class Settings:
    """The settings of a result.

    Attributes:
        model: its name.
        request: the values of the controls.
        edit: the file that it was edited from, with the option that describes the edit, as in its record; or None.
        files: copies of the files of the edit, by "init" and "mask"; empty where one of them is missing.
        second: the seed at the end of a strip; None for other results.
        lost: names of the settings that the page has no controls for.
    """

    model: str
    request: Request
    edit: Mapping[str, Any] | None = None
    files: Mapping[str, Path] = field(default_factory=dict)
    second: int | None = None
    lost: tuple[str, ...] = ()

    @classmethod
    def of(cls, record: Mapping[str, Any], models: Models, history: History, index: int = 0) -> "Settings":
        """The settings in the record of a plan, with the fields of sample ``index``.

        Raises:
            InputError: the record is not one of a plan, or of a model that is not open.
        """
        model = models.of(record)
        request = Request.of(record, index)
        try:
            pipeline = models[model]
            request = replace(request, negative=record["guidance"]["negative"].get(_negative(pipeline)))
            lost = tuple(_lost(pipeline, models.samplers, record, request))
            source = record["edit"] and record["edit"]["init"]
            edit = source if source and source.get("option") in EDITS and "value" in source else None
            parts = {} if edit is None else {"init": edit, **({"mask": edit["mask"]} if "mask" in edit else {})}
            found = {role: history.copy(part["file"], str(part["sha256"])) for role, part in parts.items()}
            files = {role: path for role, path in found.items() if path is not None}
            second = None if edit else record["seeds"].get("second")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"the file holds no plan that this version reads: {error!r}") from error
        return cls(model, request, edit, files if len(files) == len(parts) else {}, second, lost)

    @property
    def is_complete(self) -> bool:
        """Whether the controls say all of it."""
        return not self.lost and (self.edit is None or bool(self.files))

    @property
    def remark(self) -> str:
        """What is left to do to repeat the result."""
        if self.edit is not None and self.files:
            line = f"Made from the file {self.edit['file']}: press Generate from the file."
        elif self.edit is not None:
            line = f"Made from the file {self.edit['file']}: give this file under Start from a file."
        elif self.second is not None:
            line = f"Made by interpolation to the seed {self.second}: press Interpolate."
        else:
            line = "Settings loaded: press Generate."
        if self.lost:
            line += f" This page cannot set: {', '.join(self.lost)}. multidiff reproduce repeats them too."
        return line


def _lost(
    pipeline: Pipeline, samplers: Mapping[str, Path], record: Mapping[str, Any], request: Request
) -> Iterator[str]:
    """The names of the settings in ``record`` that ``request`` and the controls of edits lack."""
    sampler, guidance, edit, seeds = record["sampler"], record["guidance"], record["edit"], record["seeds"]
    if request.sampler not in sampler_names(pipeline, samplers):
        yield f"the sampler {request.sampler}"
    else:
        named = sampler_named(request.sampler, pipeline, samplers)
        chosen = chosen_sampler(pipeline.sampler, named, request.steps)
        same = with_speed(chosen, None, None, torch.device("cpu"))
        yield from (f"{name} of the sampler" for name in _differences(sampler, same))
    rule = Guidance(rule=load_option("guidance_rule", request.rule)).within(Speed.of(sampler).guidance_interval).rule
    if guidance["scale"] != 1 and dict(guidance["rule"]) != dict(rule):
        yield "the guidance rule"
    if guidance["field"] != pipeline.model.conditioner.guided:
        yield f"guidance on {guidance['field'] or 'all fields'}"
    yield from (f"the negative {name}" for name in guidance["negative"] if name != _negative(pipeline))
    if len(record["samples"]) > 1:
        yield "the fields of the other samples"
    sizes = pipeline.modality.sizes(pipeline.data_shape)
    yield from (f"the size {name}" for name in record["sizes"] if name not in sizes)
    if seeds["kind"] not in ("seeded", "interpolated") or (edit and seeds["kind"] != "seeded"):
        yield f"seeds of the kind {seeds['kind']}"
    if edit and (edit["init"].get("option") not in EDITS or "value" not in edit["init"]):
        yield "what it was edited from"
    elif edit and edit["kind"] == "redo" and edit["strength"] != 1:
        yield f"the strength {edit['strength']} of the regenerated part"
    if record.get("lora", []) != [dict(lora) for lora in pipeline.lora]:
        yield "LoRA"


def _negative(pipeline: Pipeline) -> str | None:
    """The field of the control for what to steer away from; None without conditions."""
    conditioner = pipeline.model.conditioner
    return negative_field(conditioner.reads, conditioner.guided) if conditioner.reads else None


def _differences(one: Any, other: Any, name: str = "") -> Iterator[str]:
    """The dotted names of the entries that differ between two nested mappings."""
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        if one != other:
            yield name
        return
    for key in dict.fromkeys([*one, *other]):
        yield from _differences(one.get(key), other.get(key), f"{name}.{key}" if name else str(key))
