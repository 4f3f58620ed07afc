"""Latent consistency distillation, with the skip connection and the time steps that published models have."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from multidiff.diffusion.denoiser import Denoiser, NetworkDenoiser
from multidiff.diffusion.objectives.base import Context
from multidiff.diffusion.objectives.few_step import FewStep, check_start, on_path, target_pass
from multidiff.diffusion.objectives.guided_distillation import GridTimes, ddim_step
from multidiff.diffusion.samplers import skip_connection


@dataclass(frozen=True, kw_only=True)
class LatentConsistency(FewStep):
    """Latent consistency distillation (LCM): the jump from ``x_t`` learns the jump from the end of a DDIM step.

    The jump is ``f(x, t) = c_skip x + c_out x0``, as the sampler `LCM` has it, and the loss of each value is
    ``sqrt((f(x_t, t) - f'(x_s, s))^2 + c^2) - c``. ``x_s`` is one DDIM step of the guided teacher from ``x_t``, over
    1/n of the time, and f' is the jump of the moving average, without a gradient. Luo et al. (2023), algorithm 1,
    https://arxiv.org/abs/2310.04378. The gradient at the exact map is of second order in 1/n, and that of an error of
    the map is of first order.

    Args:
        times: the n steps.
        huber: c.
        sigma_data: d of the skip connection.
        time_scale: of the skip connection.

    Raises:
        ValueError: ``huber`` is not above 0.
    """

    times: GridTimes
    huber: float = 0.001
    sigma_data: float = 0.5
    time_scale: float = 10_000.0
    needs_teacher: ClassVar[bool] = True
    samplers: ClassVar[tuple[str, ...]] = ("lcm",)
    steps = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.huber < math.inf:
            raise ValueError(f"huber must be above 0, got {self.huber}")

    def check(self, student: NetworkDenoiser, teacher: Denoiser | None, shape: tuple[int, ...]) -> None:
        super().check(student, teacher, shape)
        check_start(student)

    def at(self, context: Context, t: Tensor, noise: Tensor) -> Tensor:
        scale, given = self.scale(context)
        s = (t - 1 / self.times.steps).clamp(min=0)
        x_t = on_path(context, t, context.x0, noise)
        x_s = ddim_step(context.student.schedule, context.taught(x_t, t, scale), x_t, t, s)
        with target_pass(x_t):
            average = context.student if context.ema is None else context.ema
            target = self.jump(average(x_s, s, context.cond, scale=given), x_s, s)
        error = self.jump(context.student(x_t, t, context.cond, scale=given), x_t, t) - target
        return (torch.sqrt(error.square() + self.huber**2) - self.huber).flatten(1).mean(1)

    def jump(self, x0: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """The jump from ``x``, ``(B, ...)``, at times ``t``, ``(B,)``, with the estimate ``x0``."""
        c_skip, c_out = skip_connection(t.to(x).reshape(-1, *[1] * (x.ndim - 1)), self.sigma_data, self.time_scale)
        return c_skip * x + c_out * x0
