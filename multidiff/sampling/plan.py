"""A validated request: what will be generated, and how; enough to generate it again."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from multidiff.configuration import instantiate
from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import Denoiser, Observed
from multidiff.diffusion.editing import SampleFunction
from multidiff.diffusion.grids import Grid
from multidiff.diffusion.samplers import Sampler, sample
from multidiff.errors import LISTED, first_of, refusals
from multidiff.sampling import few_step
from multidiff.sampling.conditions import Conditions, check, counted
from multidiff.sampling.editing import Edit, seen
from multidiff.sampling.guidance import Fields, Guidance
from multidiff.sampling.seeds import Seeds, seeds_record
from multidiff.sampling.speed import Prepared, Speed

if TYPE_CHECKING:
    from multidiff.sampling.pipeline import Pipeline

log = logging.getLogger(__name__)

FORMAT = 1

OnStep = Callable[[int, Tensor], None]
"""Called with the number of steps done and the present x after each."""

OnEstimate = Callable[[Tensor], None]
"""Called with each estimate of x0 that the sampler works with, in the space of the network."""


@dataclass(frozen=True)
class Plan:
    """What a pipeline will generate. Everything is validated and built once, when the plan is made.

    Attributes:
        pipeline: the pipeline that generates the samples.
        samples: the fields of each sample.
        sampler: a config of the group ``sampler``.
        guidance: the guidance of all samples.
        seeds: the seeds of the noise.
        edit: what the samples start from; None for noise.
        sizes: settings of the modality by which the samples have another size than in training.
        batch_size: samples that go through the network at once; it changes results by rounding alone.

    Raises:
        InputError: a setting that cannot be used.
    """

    pipeline: "Pipeline" = field(repr=False)
    samples: tuple[Fields, ...]
    sampler: Mapping[str, Any]
    guidance: Guidance
    seeds: Seeds
    edit: Edit | None = None
    sizes: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = field(kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "batch_size", counted("the batch size", self.batch_size))
        if self.pipeline.trained.guidance is None:
            effective = self.guidance.effective(self.pipeline.model.conditioner.stated(self.samples))
            object.__setattr__(self, "guidance", effective.within(self.speed.guidance_interval))
        with refusals(), torch.no_grad():
            _ = self.method, self.grid, self.function
            few_step.check(self)
            check(self.pipeline.model.conditioner, (*self.samples, self.guidance.negative))
            self._guided(None)

    def __len__(self) -> int:
        return len(self.samples)

    @cached_property
    def method(self) -> Sampler:
        """The sampler."""
        return instantiate(Sampler, self.sampler["method"], schedule=self.pipeline.model.denoiser.schedule)

    @cached_property
    def speed(self) -> Speed:
        """How evaluations are made cheaper."""
        return Speed.of(self.sampler)

    @cached_property
    def network(self) -> Prepared:
        """The denoiser without guidance, which all batches share; one for inpainting is given mask and picture."""
        own = self.pipeline.model.denoiser
        return self.speed.prepared(own.seeing(*seen(self.pipeline.canvas, self.edit)) if own.masked else own)

    @cached_property
    def grid(self) -> Tensor:
        """The times that the sampler visits, decreasing."""
        denoiser = self.pipeline.model.denoiser
        grid = instantiate(Grid, self.sampler["grid"]).trained_at(denoiser.log_snr_range)
        return grid(denoiser.schedule, self.sampler["steps"])

    @cached_property
    def function(self) -> SampleFunction:
        """The way to sample: from noise, or from an artifact."""
        return sample if self.edit is None else self.edit.function(self.pipeline.canvas)

    @property
    def batches(self) -> list[range]:
        """The numbers of the samples, in those that go through the network at once."""
        starts = range(0, len(self), self.batch_size)
        return [range(start, min(start + self.batch_size, len(self))) for start in starts]

    def done(self, rows: range, steps: int) -> float:
        """The part of all samples that is done after ``steps`` of the batch ``rows``, from 0 to 1."""
        return (rows.start + len(rows) * min(1.0, steps / (len(self.grid) - 1))) / len(self)

    def fields(self, rows: range) -> list[Fields]:
        """The fields of the samples ``rows``, which start again after the last."""
        return [self.samples[row % len(self)] for row in rows]

    def conditions(self) -> Conditions:
        """Encodes the fields of the samples with the present weights, each distinct value once."""
        return Conditions(self.pipeline.model.conditioner)

    def denoiser(self, rows: range, conditions: Conditions | None = None) -> Denoiser:
        """The denoiser for the samples ``rows``, under guidance."""
        null_is_zero = self.pipeline.model.conditioner.null_is_zero
        encoded = self.guidance.field or self.guidance.negative or not null_is_zero
        if self.pipeline.trained.guidance is not None or not encoded:
            return self._guided(None)
        opposites = [self.guidance.opposite(fields) for fields in self.fields(rows)]
        return self._guided((conditions or self.conditions())(opposites))

    def _guided(self, negative: Conditioning | None) -> Denoiser:
        """The denoiser under guidance away from ``negative``; None is the null condition."""
        if self.pipeline.trained.guidance is not None:
            return few_step.denoiser(self)
        return self.guidance.guided(self.network.denoiser(), negative)

    @torch.no_grad()
    def x0(
        self,
        rows: range,
        on_step: OnStep | None = None,
        conditions: Conditions | None = None,
        on_estimate: OnEstimate | None = None,
    ) -> Tensor:
        """One batch of samples in the space of the network, ``(B, C, *size)``."""
        conditions = conditions or self.conditions()
        with refusals():
            noise = self.seeds.noise(rows, self.pipeline.noise)
            condition = conditions(self.fields(rows))
            denoiser = self.denoiser(rows, conditions)
            if on_estimate is not None:
                denoiser = Observed(denoiser, on_estimate)
            return self.function(denoiser, noise, self.method, self.grid, condition, on_step)

    def generate(
        self,
        rows: range | None = None,
        on_step: OnStep | None = None,
        conditions: Conditions | None = None,
        on_estimate: OnEstimate | None = None,
    ) -> list[Any]:
        """Generate the samples ``rows``, all by default, as one batch of artifacts."""
        rows = range(len(self)) if rows is None else rows
        x0 = self.x0(rows, on_step, conditions, on_estimate)
        wrong = [str(row) for row, each in zip(rows, x0, strict=True) if not bool(each.isfinite().all())]
        if wrong:
            log.warning(
                "samples %s have non-finite values: lower the guidance, or choose another sampler",
                first_of(wrong, LISTED),
            )
        artifacts = self.pipeline.artifacts(x0, self.edit)
        if self.edit is not None and self.edit.grows:
            return artifacts
        pairs = zip(artifacts, self.fields(rows), strict=True)
        return [self.pipeline.modality.requested(artifact, fields) for artifact, fields in pairs]

    def stream(self, batches: Sequence[range] | None = None) -> Iterator[Any]:
        """Generate the samples in ``batches``, all by default, one artifact after another."""
        conditions = self.conditions()
        for rows in self.batches if batches is None else batches:
            yield from self.generate(rows, conditions=conditions)

    def record(self) -> dict[str, Any]:
        """The plan as plain values.

        Raises:
            InputError: guidance is a function, which has no record.
        """
        return {
            "format": FORMAT,
            "multidiff": version("multidiff-toolkit"),
            "model_sha256": self.pipeline.sha256,
            **({"lora": [dict(lora) for lora in self.pipeline.lora]} if self.pipeline.lora else {}),
            "n": len(self),
            "samples": [dict(fields) for fields in shortest_cycle(self.samples)],
            "sampler": dict(self.sampler),
            "guidance": self.guidance.record(),
            "seeds": seeds_record(self.seeds),
            "edit": None if self.edit is None else self.edit.record(self.pipeline.canvas),
            "sizes": dict(self.sizes),
            "batch_size": self.batch_size,
            "modality": dict(self.pipeline.modality_config or {}),
        }

    def to_json(self) -> str:
        """The record as JSON."""
        return json.dumps(self.record(), ensure_ascii=False)


def shortest_cycle(samples: Sequence[Fields]) -> Sequence[Fields]:
    """The shortest start of ``samples`` whose repetition gives them all: a record holds each combination once."""
    count = len(samples)
    return samples[: next((p for p in range(1, count) if samples[p:] == samples[: count - p]), count)]


def fields_in(record: Mapping[str, Any], index: int) -> Fields:
    """The fields of sample ``index`` in the record of a plan."""
    return record["samples"][index % len(record["samples"])]
