"""Sampling of models that were trained for few steps: what they can be asked for."""

import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from multidiff.diffusion.denoiser import Denoiser
from multidiff.diffusion.guidance import DistilledGuidance
from multidiff.diffusion.objectives import Trained
from multidiff.errors import InputError
from multidiff.sampling.guidance import Guidance

if TYPE_CHECKING:
    from multidiff.sampling.plan import Plan

log = logging.getLogger(__name__)

PARTS = {"samplers", "steps", "guidance"}


def check(plan: "Plan") -> None:
    """Refuse guidance that the model has not learned, and a sampler whose input the network does not take.

    Raises:
        InputError: the plan asks for it.
    """
    guidance, learned = plan.guidance, plan.pipeline.trained.guidance
    if plan.method.second_time and "second_time" not in plan.pipeline.model.denoiser.inputs:
        raise InputError(
            f"sampler {plan.sampler['name']} needs a network with a second time: a model of objective=mean_flow"
        )
    if learned is None:
        return
    low, high = learned
    if callable(guidance.scale) or not has_learned(plan.pipeline.trained, guidance.scale):
        scales = f"guidance {low:g}" if low == high else f"guidance from {low:g} to {high:g}"
        raise InputError(f"this model was trained for {scales}, but guidance {guidance.scale} was requested")
    if guidance.field or guidance.negative or guidance.rule != Guidance().rule:
        raise InputError("this model applies guidance by itself: leave out guidance rule, field and negative condition")


def check_denoiser(trained: Trained) -> None:
    """Refuse a model whose outputs suit only its own sampler, to which no other and no grid can be fitted.

    Raises:
        InputError: it was trained for few steps.
    """
    if trained.samplers:
        steps = {None: "1, 2 or 4", 1: "1"}.get(trained.steps, f"1 to {trained.steps}")
        own = ", ".join(trained.samplers)
        raise InputError(
            f"this model was trained for few steps of its own sampler, {own}: sample it with --steps {steps}"
        )


def has_learned(trained: Trained, scale: float) -> bool:
    """Whether the model was trained for this guidance scale."""
    low, high = trained.guidance or (-math.inf, math.inf)
    return low <= scale <= high


def denoiser(plan: "Plan") -> Denoiser:
    """The denoiser of a model that applies guidance by itself."""
    own, scale = plan.network.denoiser(), plan.guidance.scale
    return DistilledGuidance(own, float(scale)) if "guidance" in own.inputs else own  # type: ignore[arg-type]


def remarks(plan: "Plan") -> list[str]:
    """What a person should know about a sampler or a number of steps that the model was not trained for."""
    trained, name, steps = plan.pipeline.trained, plan.sampler["name"], plan.sampler["steps"]
    suits = ", ".join(trained.samplers)
    if trained.samplers and name not in trained.samplers:
        return [f"this model was trained for the sampler {suits}; {name} needs other network outputs than it has"]
    if trained.steps is not None and steps > trained.steps:
        return [f"this model was trained for at most {trained.steps} steps; {steps} do not improve its samples"]
    return []


def default_guidance(trained: Trained, wanted: float) -> float:
    """The learned guidance scale nearest to ``wanted``. Another than 1, which means no guidance, causes a warning."""
    if trained.guidance is None or has_learned(trained, wanted):
        return wanted
    nearest = min(max(wanted, trained.guidance[0]), trained.guidance[1])
    if wanted != 1:
        log.warning(
            "the model is not trained for guidance=%g: its default becomes %g; objective.guidance=%g trains it",
            wanted,
            nearest,
            wanted,
        )
    return nearest


def default_sampler(trained: Trained, wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    """The sampler ``wanted``, with at most the steps that the model was trained for."""
    return wanted if trained.steps is None else {**wanted, "steps": min(wanted["steps"], trained.steps)}


def record(trained: Trained) -> dict[str, Any]:
    """The entry ``trained`` of the config of a model, as plain values; none for a denoiser."""
    if trained == Trained():
        return {}
    guidance = None if trained.guidance is None else list(trained.guidance)
    return {"trained": {"samplers": list(trained.samplers), "steps": trained.steps, "guidance": guidance}}


def trained_from(entry: Mapping[str, Any] | None) -> Trained:
    """From `record`.

    Raises:
        InputError: the entry is damaged.
    """
    if entry is None:
        return Trained()
    if not isinstance(entry, Mapping) or set(entry) != PARTS:
        raise InputError(f"trained must have {', '.join(sorted(PARTS))}, got {entry!r}")
    samplers, steps, guidance = entry["samplers"], entry["steps"], entry["guidance"]
    fits = isinstance(samplers, list) and all(isinstance(name, str) for name in samplers)
    fits &= steps is None or (type(steps) is int and steps > 0)
    fits &= guidance is None or (isinstance(guidance, list) and len(guidance) == 2 and all(map(_is_scale, guidance)))
    if not fits:
        raise InputError(f"trained does not say how the model is sampled: {entry!r}")
    return Trained(tuple(samplers), steps, None if guidance is None else (float(guidance[0]), float(guidance[1])))


def _is_scale(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf
