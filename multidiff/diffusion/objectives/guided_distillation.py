"""Distillation of guidance into one evaluation, and of several steps into one."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from multidiff.diffusion.denoiser import Denoiser, NetworkDenoiser, coefficients
from multidiff.diffusion.objectives.base import Context
from multidiff.diffusion.objectives.few_step import FewStep, check_solution_map, on_path
from multidiff.diffusion.objectives.times import TimeDistribution
from multidiff.diffusion.objectives.weighting import Weighting
from multidiff.diffusion.schedules import Schedule


@dataclass(frozen=True, kw_only=True)
class GuidedDistillation(FewStep):
    """Guided distillation: one evaluation of the student learns the teacher's guided estimate, which takes two.

    The loss is that of `Distillation`, with guidance scales that are random in a range and an input of the student.
    Meng et al. (2023), section 3.1, https://arxiv.org/abs/2210.03142.

    Args:
        weighting: of the squared error of the network output.
    """

    weighting: Weighting
    needs_teacher: ClassVar[bool] = True
    comparable: ClassVar[bool] = True
    samplers: ClassVar[tuple[str, ...]] = ()

    @property
    def steps(self) -> int | None:
        return None

    def at(self, context: Context, t: Tensor, noise: Tensor) -> Tensor:
        student = context.student
        scale, given = self.scale(context)
        x_t = on_path(context, t, context.x0, noise)
        a, s = coefficients(student.schedule, t, x_t)
        with torch.no_grad():
            estimate = self.estimate(context, x_t, t, scale)
            target = student.prediction.target(estimate, (x_t - a * estimate) / s, a, s)
        error = student.output(x_t, t, context.cond, scale=given) - target
        gain = student.prediction.gain(a, s).flatten()
        return self.weighting(student.schedule.log_snr(t), gain) * error.square().flatten(1).mean(1)

    def estimate(self, context: Context, x_t: Tensor, t: Tensor, scale: Tensor | None) -> Tensor:
        """The x0 estimate that the student learns."""
        return context.taught(x_t, t, scale)


@dataclass(frozen=True)
class GridTimes(TimeDistribution):
    """The times ``1/n, 2/n, ..., 1`` at which a sampler of n equal steps evaluates the model.

    Raises:
        ValueError: fewer than 1 step.
    """

    steps: int

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")

    def quantile(self, u: Tensor, schedule: Schedule) -> Tensor:
        return torch.ceil(u * self.steps) / self.steps

    def log_snr_range(self, schedule: Schedule) -> tuple[float, float]:
        """Without limits: samples visit the times of training and no others, and a fake-score network visits all."""
        return -math.inf, math.inf


@dataclass(frozen=True, kw_only=True)
class ProgressiveDistillation(GuidedDistillation):
    """Progressive distillation: one DDIM step of the student, over 1/n of the time, matches several of the teacher.

    The target is ``x0 = (x_s - sigma_s / sigma_t x_t) / (alpha_s - sigma_s / sigma_t alpha_t)``, with the x_s that the
    teacher reaches from x_t. Salimans and Ho (2022), algorithm 2, https://arxiv.org/abs/2202.00512. They halve the
    steps repeatedly: then the teacher is the student for 2n steps, and ``substeps`` is 2.

    Args:
        times: the n steps of the student.
        substeps: steps of the teacher for one of the student.

    Raises:
        ValueError: fewer than 1 substep.
    """

    times: GridTimes
    substeps: int = 2
    samplers: ClassVar[tuple[str, ...]] = ("ddim",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.substeps < 1:
            raise ValueError(f"substeps must be at least 1, got {self.substeps}")

    @property
    def steps(self) -> int:
        return self.times.steps

    def check(self, student: NetworkDenoiser, teacher: Denoiser | None, shape: tuple[int, ...]) -> None:
        super().check(student, teacher, shape)
        check_solution_map(student)

    def estimate(self, context: Context, x_t: Tensor, t: Tensor, scale: Tensor | None) -> Tensor:
        schedule = context.student.schedule
        stops = [(t - i / (self.substeps * self.steps)).clamp(min=0) for i in range(self.substeps + 1)]
        x = x_t
        for here, there in pairwise(stops):
            x = ddim_step(schedule, context.taught(x, here, scale), x, here, there)
        (a_t, s_t), (a_s, s_s) = (coefficients(schedule, time, x_t) for time in (t, stops[-1]))
        return (x - s_s / s_t * x_t) / (a_s - s_s / s_t * a_t)


def ddim_step(schedule: Schedule, x0: Tensor, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """``alpha_s x0 + sigma_s noise`` with the x0 and the noise that make up ``x_t``."""
    (a_t, s_t), (a_s, s_s) = (coefficients(schedule, time, x_t) for time in (t, s))
    return a_s * x0 + s_s / s_t * (x_t - a_t * x0)
