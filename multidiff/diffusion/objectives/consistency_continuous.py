"""Consistency training and distillation in continuous time."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from multidiff.diffusion.denoiser import Denoiser, NetworkDenoiser, coefficients
from multidiff.diffusion.objectives.base import Context
from multidiff.diffusion.objectives.derivative import along, check_derivative
from multidiff.diffusion.objectives.few_step import FewStep, check_solution_map, direction, on_path, target_pass
from multidiff.diffusion.schedules import Schedule


@dataclass(frozen=True, kw_only=True)
class ContinuousConsistency(FewStep):
    """Simplified continuous-time consistency training and distillation (sCM), in the coordinates of TrigFlow.

    With the angle ``h = arctan(sigma / alpha)``, ``z = x_t / sqrt(alpha^2 + sigma^2)`` and ``f = cos h z - sin h F``,
    the loss is ``|F - stopgrad(F + g / (|g| + c))|^2``, with the tangent ``g = cos h df/dh`` along the ODE:
    ``g = -cos^2 h (F - dz/dh) - w cos h sin h (z + dF/dh)``, where w rises from 0 to 1 in a warm-up. Norms are root
    mean squares. Lu and Song (2024), algorithm 1, https://arxiv.org/abs/2410.11081, without the learned weighting.

    The change of coordinates is exact, so it works for every schedule. The gradient is zero at the solution map: with a
    teacher for every sample, and without one on average if c is large. A smaller c normalises tangents that are noisy
    without a teacher, which biases their mean.

    Args:
        warmup: fraction of the training in which w rises.
        constant: c.

    Raises:
        ValueError: ``warmup`` is not in [0, 1], or ``constant`` is not above 0.
    """

    warmup: float = 0.1
    constant: float = 0.1
    samplers: ClassVar[tuple[str, ...]] = ("consistency",)
    steps = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 <= self.warmup <= 1 and self.constant > 0):
            raise ValueError(f"need 0 <= warmup <= 1 and constant > 0, got {self.warmup} and {self.constant}")

    def check(self, student: NetworkDenoiser, teacher: Denoiser | None, shape: tuple[int, ...]) -> None:
        super().check(student, teacher, shape)
        check_solution_map(student)
        check_derivative(student, shape)

    def at(self, context: Context, t: Tensor, noise: Tensor) -> Tensor:
        student, schedule = context.student, context.student.schedule
        scale, given = self.scale(context)
        x_t = on_path(context, t, context.x0, noise)

        def velocity(x_t: Tensor, t: Tensor) -> Tensor:
            return angular_velocity(schedule, student(x_t, t, context.cond, scale=given), x_t, t)

        with target_pass(x_t):
            ends = direction(context, x_t, t, noise, scale)
            value, change = along(velocity, schedule, x_t, t, ends, lambda a, sigma: torch.atan2(sigma, a))
            target = value + self.normalised(self.tangent(context, x_t, t, ends, value, change))
        return (velocity(x_t, t) - target).square().flatten(1).mean(1)

    def tangent(
        self, context: Context, x_t: Tensor, t: Tensor, ends: tuple[Tensor, Tensor], value: Tensor, change: Tensor
    ) -> Tensor:
        """g, from ``F`` and ``dF/dh``."""
        a, sigma = coefficients(context.student.schedule, t, x_t)
        radius = torch.hypot(a, sigma)
        cos, sin, z = a / radius, sigma / radius, x_t / radius
        warm = min(1.0, context.progress / self.warmup) if self.warmup else 1.0
        return -(cos**2) * (value - (cos * ends[1] - sin * ends[0])) - warm * cos * sin * (z + change)

    def normalised(self, tangent: Tensor) -> Tensor:
        """``g / (|g| + c)``."""
        size = tangent.square().flatten(1).mean(1).sqrt().reshape(-1, *[1] * (tangent.ndim - 1))
        return tangent / (size + self.constant)


def angular_velocity(schedule: Schedule, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """``F = (cos h z - x0) / sin h``: the velocity ``dz/dh`` that belongs to an x0 estimate."""
    a, sigma = coefficients(schedule, t, x_t)
    radius = torch.hypot(a, sigma)
    return (a / radius**2 * x_t - x0) * radius / sigma
