"""The config of `FlowMatchEulerDiscreteScheduler` as a schedule and a sampler."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from multidiff.diffusion.schedules import RectifiedFlow
from multidiff.errors import InputError
from multidiff.pretrained.scheduler import COMPATIBLE

NAME = "FlowMatchEulerDiscreteScheduler"

UNSUPPORTED = (
    *("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "invert_sigmas", "shift_terminal"),
    "stochastic_sampling",
)
"""Settings that would change the samples and have no counterpart."""


@dataclass(frozen=True)
class Shift:
    """How far times are shifted towards noise: a constant, or a line over the number of tokens of the sample.

    Esser et al. (2024), section 5.3.2, https://arxiv.org/abs/2403.03206.

    Attributes:
        constant: the shift; None if it depends on the size.
        tokens: numbers of tokens at the ends of the line.
        shifts: mu at its ends.
        exponential: whether the shift is ``exp(mu)`` instead of mu.
        train_steps: N; the network reads ``sigma N``.
    """

    constant: float | None
    tokens: tuple[float, float]
    shifts: tuple[float, float]
    exponential: bool
    train_steps: int

    def schedule(self, shape: Sequence[int], patch: int) -> RectifiedFlow:
        """For samples of ``shape``, of which the network reads ``patch`` positions along each axis as one token."""
        if self.constant is not None:
            return RectifiedFlow(self.constant)
        count = math.prod(side // patch for side in shape[1:])
        slope = (self.shifts[1] - self.shifts[0]) / (self.tokens[1] - self.tokens[0])
        mu = self.shifts[0] + slope * (count - self.tokens[0])
        return RectifiedFlow(math.exp(mu) if self.exponential else mu)


def shift_of(config: Mapping[str, Any]) -> Shift:
    """The shift that a scheduler config describes.

    Raises:
        InputError: the scheduler is of another kind, or has a setting without a counterpart.
    """
    if config.get("_class_name") != NAME:
        raise InputError(f"this family is sampled by a {NAME}, got {config.get('_class_name')}")
    odd = [name for name in UNSUPPORTED if config.get(name)]
    if odd:
        raise InputError(f"{odd[0]} is not supported; remove it")
    dynamic = config.get("use_dynamic_shifting", False)
    return Shift(
        None if dynamic else float(config.get("shift", 1.0)),
        (config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)),
        (config.get("base_shift", 0.5), config.get("max_shift", 1.15)),
        config.get("time_shift_type", "exponential") == "exponential",
        config.get("num_train_timesteps", 1000),
    )


def flow_sampler(config: Mapping[str, Any], steps: int, even: bool = False) -> dict[str, Any]:
    """The sampler of a scheduler config, on the times that diffusers visits.

    Args:
        config: of the scheduler.
        steps: number of steps by default.
        even: whether times are even, as of Flux's pipeline; false: the scheduler's own, which end at the first
            timestep, shifted twice.
    """
    grids = "multidiff.diffusion.grids"
    grid: dict[str, Any] = {"_target_": f"{grids}.Uniform"}
    if not even:
        count = config.get("num_train_timesteps", 1000)
        shift = 1.0 if config.get("use_dynamic_shifting") else float(config.get("shift", 1.0))
        lowest = shift / (1 + (shift - 1) / count) - 1
        grid = {"_target_": f"{grids}.Linspaced", "train_steps": count, "whole": False, "lowest": lowest}
    method = {"_target_": "multidiff.diffusion.samplers.DDIM"}  # of flow matching, it is Euler's
    return {"name": COMPATIBLE, "steps": steps, "method": method, "grid": grid}
