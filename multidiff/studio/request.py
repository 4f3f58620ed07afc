"""A request in the plain values of controls: from a person to a plan, and from the record of a plan back."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from multidiff.configuration import group_options, load_option
from multidiff.errors import InputError
from multidiff.sampling.editing import Edit
from multidiff.sampling.pipeline import Pipeline
from multidiff.sampling.plan import Plan, fields_in
from multidiff.sampling.seeds import Seeds
from multidiff.studio.limits import Limits

PLAIN_RULE = "cfg"
"""The rule of guidance that is meant where none is named."""

BATCH = 16
"""Samples that go through the network at once by default, at most: a person waits for the first ones."""

EXACT = 2**53
"""Browsers hold integers up to this one exactly."""


@dataclass(frozen=True)
class Request:
    """What a person asks for.

    Attributes:
        n: number of samples.
        fields: values of the fields of the model, and sizes in settings of its modality; those not given are missing.
        negative: a label or a prompt to steer away from, or None.
        guidance: the scale; None for that of the model.
        rule: of guidance, an option of the group ``guidance_rule``.
        sampler: an option of the group ``sampler``, or the name of a sampler file; None for that of the model.
        steps: of the sampler; None for its own.
        seed: of the first sample.
        batch_size: samples that go through the network at once; None for as many as their size and the limits allow.
    """

    n: int = 4
    fields: Mapping[str, Any] = field(default_factory=dict)
    negative: str | None = None
    guidance: float | None = None
    rule: str = PLAIN_RULE
    sampler: str | None = None
    steps: int | None = None
    seed: int = 0
    batch_size: int | None = None

    def plan(
        self,
        pipeline: Pipeline,
        limits: Limits,
        samplers: Mapping[str, Path],
        edit: Edit | None = None,
        seeds: Seeds | None = None,
    ) -> Plan:
        """The validated plan of the request.

        Guidance without a condition is off, as it is where a model's own guidance meets no condition.

        Args:
            pipeline: the model.
            limits: of a request.
            samplers: the sampler files that may be named.
            edit: what the samples start from; None for noise.
            seeds: other noise than that of `seed`.

        Raises:
            InputError: a value that cannot be used, or one above the limits.
        """
        limits.check_counts(self.n, self.batch_size, self.steps)
        self._check_names(pipeline, samplers)
        given = {name for name, value in self.fields.items() if value is not None and str(value).strip()}
        guided = bool(self.negative) or bool(given - set(self._sizes(pipeline)))
        plan = pipeline.plan(
            self.n,
            fields=dict(self.fields),
            negative=self.negative or None,
            guidance=self.guidance if guided and self.guidance != pipeline.guidance else None,
            guidance_rule=self.rule if guided and self.rule != PLAIN_RULE else None,
            sampler=sampler_named(self.sampler, pipeline, samplers),
            steps=self.steps,
            seed=0 if seeds else self.seed,
            seeds=seeds,
            batch_size=self.batch_size,
            edit=edit,
        )
        if self.batch_size is None:
            plan = replace(plan, batch_size=min(plan.batch_size, BATCH, limits.batch))
        limits.check(plan)
        return plan

    def data_shape(self, pipeline: Pipeline, limits: Limits) -> tuple[int, ...]:
        """The shape of the data of a sample, ``(C, *size)``.

        Raises:
            InputError: a size that cannot be used, or one above the limit.
        """
        sizes = self._sizes(pipeline)
        shape = pipeline.resized(**sizes).data_shape if sizes else pipeline.data_shape
        limits.check_size(math.prod(shape))
        return shape

    def _sizes(self, pipeline: Pipeline) -> dict[str, Any]:
        """The settings of the modality among the fields."""
        return {name: value for name, value in self.fields.items() if name not in pipeline.model.conditioner.reads}

    def _check_names(self, pipeline: Pipeline, samplers: Mapping[str, Path]) -> None:
        """Refuse names of options that are none: elsewhere they may be paths, which a visitor must not choose."""
        known_samplers = sampler_names(pipeline, samplers)
        for name, known in ((self.sampler, known_samplers), (self.rule, group_options("guidance_rule"))):
            if name is not None and name not in known:
                raise InputError(f"there is no {name!r}; there are: {', '.join(sorted(known))}")

    @classmethod
    def of(cls, record: Mapping[str, Any], index: int = 0) -> "Request":
        """The request that the record of a plan stands for, with the fields of sample ``index``.

        Raises:
            InputError: the record is not one of a plan, or the studio has no controls for its settings.
        """
        try:
            guidance, seeds = record["guidance"], record["seeds"]
            seed = seeds["seed"] if "seed" in seeds else seeds["first"]
            if not -EXACT <= seed <= EXACT:
                raise InputError(f"the seed {seed} has more digits than a browser holds; use multidiff reproduce")
            return cls(
                n=int(record["n"]),
                fields={**fields_in(record, index), **record["sizes"]},
                negative=next(iter(guidance["negative"].values()), None),
                guidance=float(guidance["scale"]),
                rule=_rule(guidance["rule"]),
                sampler=str(record["sampler"]["name"]),
                steps=int(record["sampler"]["steps"]),
                seed=seed,
                batch_size=int(record["batch_size"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"the file holds no plan that this version reads: {error!r}") from error


def sampler_names(pipeline: Pipeline, samplers: Mapping[str, Path]) -> list[str]:
    """The names of samplers that a request may have: that of the model, those of ``samplers``, and all options."""
    return list(dict.fromkeys([str(pipeline.sampler["name"]), *samplers, *group_options("sampler")]))


def sampler_named(name: str | None, pipeline: Pipeline, samplers: Mapping[str, Path]) -> str | None:
    """What stands for the sampler ``name`` in `Pipeline.plan`: an option or a file, or None for that of the model."""
    if name is None or name == pipeline.sampler["name"]:
        return None
    return str(samplers.get(name, name))


def _rule(config: Mapping[str, Any]) -> str:
    """The option of the group ``guidance_rule`` that ``config`` is."""
    return next(
        (name for name in group_options("guidance_rule") if load_option("guidance_rule", name) == config), "cfg"
    )
