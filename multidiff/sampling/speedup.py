"""The fastest way to sample a model within a given difference from its own many-step samples."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from multidiff.configuration import load_option
from multidiff.diffusion.optimized_grid import CANDIDATES
from multidiff.errors import InputError
from multidiff.nn.bfloat16 import bfloat16_pays
from multidiff.sampling import few_step
from multidiff.sampling.fine_runs import fine_runs
from multidiff.sampling.plan import Plan
from multidiff.sampling.speed import Speed

REFERENCE = ("dpmpp_3m", 128)
"""The sampler and the steps of the samples that others are compared with."""

SAMPLERS = ("dpmpp_2m", "dpmpp_3m", "unipc_3")
STEPS = (4, 5, 6, 8, 10, 12, 15, 20, 25, 32, 40, 50, 64)
INTERVALS = ((-4.0, 2.0), (-2.0, 2.0), (-1.065, 1.273))
"""Of log SNR, from wide to narrow; the last is that of the guidance rule ``cfg_interval``."""

REPEATS = 3
"""Runs of which the fastest counts."""

FASTER = 0.97
"""Share of the seconds below which one way counts as faster than another."""


@dataclass(frozen=True)
class Measured:
    """A way to sample, and what it gives.

    Attributes:
        sampler: its config.
        difference: root mean square difference from the reference, relative to the standard deviation of the samples.
        seconds: of the fastest run.
    """

    sampler: Mapping[str, Any]
    difference: float
    seconds: float


class Search:
    """Measures ways to sample, and keeps the fastest within a difference.

    Args:
        plan: the samples to measure on.
        limit: the largest difference.
        told: called with a line for each way that is measured.

    Raises:
        InputError: the model was trained for few steps, or ``limit`` is not above 0.
    """

    def __init__(self, plan: Plan, limit: float, told: Callable[[str], None]):
        few_step.check_denoiser(plan.pipeline.trained)
        if not limit > 0:
            raise InputError(f"the difference must be above 0, got {limit}")
        self.plan, self.limit, self.told = plan, limit, told
        name, steps = REFERENCE
        self.reference, seconds = self._run({**load_option("sampler", name), "steps": steps})
        self.spread = (self.reference - self.reference.mean(0)).square().mean().sqrt().clamp(min=1e-12)
        told(_line("reference", steps, 0.0, seconds))
        self.best = self.measured("as it is", plan.sampler)

    def measured(self, what: str, sampler: Mapping[str, Any]) -> Measured:
        """``sampler``, run several times if it is within the limit."""
        x0, seconds = self._run(sampler)
        difference = ((x0 - self.reference).square().mean().sqrt() / self.spread).item()
        if difference <= self.limit:
            seconds = min(seconds, *(self._run(sampler)[1] for _ in range(REPEATS - 1)))
        self.told(_line(what, sampler["steps"], difference, seconds))
        return Measured(sampler, difference, seconds)

    def first(self, what: str, sampler: Mapping[str, Any], counts: Iterable[int]) -> None:
        """Keep ``sampler`` with the first of the numbers of steps that is within the limit, if it is faster."""
        for steps in counts:
            found = self.measured(what, {**sampler, "steps": steps})
            if found.difference <= self.limit:
                self.keep(found)
                return

    def keep(self, found: Measured) -> None:
        """Take ``found`` if it is within the limit, and faster than the best or the first within the limit."""
        late = self.best.difference > self.limit
        if found.difference <= self.limit and (late or found.seconds < FASTER * self.best.seconds):
            self.best = found

    def faster(self, what: str, **settings: Any) -> None:
        """Keep the best with other settings of `Speed`, if it is faster."""
        self.keep(
            self.measured(what, {**self.best.sampler, "speed": {**self.best.sampler.get("speed", {}), **settings}})
        )

    def _run(self, sampler: Mapping[str, Any]) -> tuple[torch.Tensor, float]:
        plan = replace(self.plan, sampler=sampler)
        begun = time.perf_counter()
        conditions = plan.conditions()
        x0 = torch.cat([plan.x0(rows, conditions=conditions) for rows in plan.batches])
        if x0.is_cuda:
            torch.cuda.synchronize()
        return x0, time.perf_counter() - begun


def fastest(plan: Plan, limit: float, compile: bool, told: Callable[[str], None]) -> Measured:
    """The fastest way to generate the samples of ``plan`` within ``limit`` of many steps, by a greedy search.

    First the sampler, the grid and the number of steps, then reused features, the interval of guidance, and what
    changes rounding alone: precision, memory format, compilation.

    Raises:
        InputError: no way is within the limit, or as `Search`.
    """
    search = Search(plan, limit, told)
    for name in SAMPLERS:
        late = search.best.difference > limit
        search.first(
            name, load_option("sampler", name), [n for n in STEPS if late or n <= search.best.sampler["steps"]]
        )
    if search.best.difference > limit:
        raise InputError(f"no sampler is within {limit:g} of the reference in {STEPS[-1]} steps: raise --loss")
    for sampler in _fitted(search):
        search.keep(search.measured("fitted grid", sampler))
    if hasattr(plan.pipeline.model.denoiser.network, "partly"):
        for reuse in (2, 3):
            more = [steps for steps in STEPS if steps >= search.best.sampler["steps"]][:4]
            unfitted = {**load_option("sampler", SAMPLERS[0]), "speed": {"reuse": reuse}}
            search.first(f"features of {reuse} steps", unfitted, more)
    if (
        isinstance(plan.guidance.scale, int | float)
        and plan.guidance.scale != 1
        and plan.pipeline.trained.guidance is None
    ):
        for interval in INTERVALS:
            search.faster(f"guidance in {interval}", guidance_interval=list(interval))
    device = plan.pipeline.canvas.like.device.type
    if len(plan.pipeline.shape) == 3:
        search.faster("channels last", channels_last=True)
    if bfloat16_pays(device):
        search.faster("bfloat16", precision="bfloat16")
    if compile:
        search.faster("compiled", compile=True)
    return search.best


def described(found: Measured, name: str) -> dict[str, Any]:
    """The config of a sampler file."""
    speed = Speed.of(found.sampler).record()
    plain = {part: found.sampler[part] for part in ("steps", "method", "grid")}
    return {"name": name, **plain, **({"speed": speed} if speed else {})}


def _fitted(search: Search) -> Iterator[Mapping[str, Any]]:
    """The best sampler on fitted grids of ever fewer steps, while the last of them is the best."""
    plan, start = search.plan, search.best.sampler
    sampler: Mapping[str, Any] = load_option("sampler", SAMPLERS[0])
    runs = fine_runs(plan)
    for steps in range(min(start["steps"], CANDIDATES), 1, -1):
        grid = {"_target_": "multidiff.diffusion.grids.Interpolated", "log_snr": list(runs.grid(steps).log_snr)}
        chosen = {**sampler, "steps": steps, "grid": grid}
        yield chosen
        if search.best.sampler is not chosen and steps < start["steps"]:
            return


def _line(what: str, steps: int, difference: float, seconds: float) -> str:
    return f"{what:<28} {steps:>4} steps  difference {difference:.4f}  {seconds:.3f} s"
