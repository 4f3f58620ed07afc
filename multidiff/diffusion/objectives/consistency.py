"""Consistency training and distillation at pairs of times."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from multidiff.diffusion.denoiser import Denoiser, NetworkDenoiser
from multidiff.diffusion.objectives.base import Context
from multidiff.diffusion.objectives.few_step import FewStep, check_solution_map, direction, on_path, target_pass

SHARPNESS = 8.0
"""k of ECT: at low noise the pair starts 1 + k / 2 times as far apart, relative to the noise level."""


@dataclass(frozen=True, kw_only=True)
class Consistency(FewStep):
    """Easy consistency training (ECT): the estimate at ``x_t`` approaches that at ``x_s``, ``s < t``, on the same path.

    ``(sqrt(|f(x_t, t) - stopgrad f(x_s, s)|^2 + c^2) - c) / (u_t - u_s)`` with the noise levels ``u = sigma / alpha``
    and ``u_s = u_t max(0, 1 - (1 + 8 sigmoid(-u_t)) / q^stage)``: training starts as denoising, with s = 0, and in
    each stage the pair comes closer by q. Geng et al. (2024), section 3, https://arxiv.org/abs/2406.14548. The
    pseudo-Huber loss, with the mean over the values of a sample, is that of Song and Dhariwal (2023), section 3.3,
    https://arxiv.org/abs/2310.14189.

    Without a teacher, ``x_s`` has the x0 and the noise of ``x_t``. With a teacher, it is one Euler step of its ODE in
    ``x / alpha`` over ``sigma / alpha``. Either way the bias of the gradient is of first order in ``u_t - u_s``.

    Args:
        stages: number of stages, of equal length.
        shrink: q.
        huber: c.

    Raises:
        ValueError: fewer than 1 stage, ``shrink`` not above 1, or ``huber`` not above 0.
    """

    stages: int = 4
    shrink: float = 2.0
    huber: float = 0.06
    samplers: ClassVar[tuple[str, ...]] = ("consistency",)
    steps = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stages < 1 or not self.shrink > 1 or not 0 < self.huber < math.inf:
            raise ValueError(
                f"need stages >= 1, shrink > 1 and huber > 0, got {self.stages}, {self.shrink} and {self.huber}"
            )

    def check(self, student: NetworkDenoiser, teacher: Denoiser | None, shape: tuple[int, ...]) -> None:
        super().check(student, teacher, shape)
        check_solution_map(student)

    def lower(self, level: Tensor, progress: float) -> Tensor:
        """The noise level ``u_s`` for ``u_t``, ``(B,)``."""
        stage = 1 + min(int(progress * self.stages), self.stages - 1)
        return level * (1 - (1 + SHARPNESS * torch.sigmoid(-level)) / self.shrink**stage).clamp(min=0)

    def at(self, context: Context, t: Tensor, noise: Tensor) -> Tensor:
        student, schedule = context.student, context.student.schedule
        level = torch.exp(-schedule.log_snr(t))
        lower = self.lower(level, context.progress)
        s = torch.where(lower > 0, schedule.time(-torch.log(lower)), 0.0)
        scale, given = self.scale(context)
        x_t = on_path(context, t, context.x0, noise)
        x_s = on_path(context, s, *direction(context, x_t, t, noise, scale))
        with target_pass(x_t):
            target = student(x_s, s, context.cond, scale=given)
        error = student(x_t, t, context.cond, scale=given) - target
        distance = torch.sqrt(error.square().flatten(1).mean(1) + self.huber**2) - self.huber
        return distance / (level - lower).to(distance)
