"""MeanFlow: regression of the average velocity between two times."""

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
class MeanFlow(FewStep):
    """MeanFlow: the average velocity u of the path between t and a second time s, by the MeanFlow identity.

    With ``r = sigma / (alpha + sigma)`` and ``y = x_t / (alpha + sigma)``, every schedule is a straight path with the
    velocity ``v = noise - x0``. The target is ``u = v - (r_t - r_s) du/dr``, with the derivative along v at constant
    s. The loss is ``e / stopgrad(e + c)^p`` of the mean squared error e. The x0 estimate is ``y - r_t u``, so that for
    ``s = t`` the model is a denoiser. Geng et al. (2025), eq. 6-11 and 22, https://arxiv.org/abs/2505.13447.

    Guidance is inside the target, as in their eq. 19: ``v = scale (noise - x0) + (1 - scale) u(t, t, null)``. With a
    teacher, v is its velocity, under classifier-free guidance.

    The gradient is zero at the average velocity if ``power`` is 0, and for each sample if there is a teacher. Without
    one, a power above 0 gives less weight to velocities far from their mean, which biases u where they are skewed.

    Args:
        apart: fraction of the samples with ``s < t``; the others have ``s = t``.
        power: p.
        constant: c.

    Raises:
        ValueError: ``apart`` is not in [0, 1], ``power`` is negative, or ``constant`` is not above 0.
    """

    apart: float = 0.25
    power: float = 1.0
    constant: float = 1e-3
    samplers: ClassVar[tuple[str, ...]] = ("mean_flow",)
    steps = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 <= self.apart <= 1 and self.power >= 0 and self.constant > 0):
            raise ValueError(
                f"need 0 <= apart <= 1, power >= 0 and constant > 0, got {self.apart}, {self.power} and {self.constant}"
            )

    @property
    def inputs(self) -> tuple[str, ...]:
        return ("second_time", *super().inputs)

    def check(self, student: NetworkDenoiser, teacher: Denoiser | None, shape: tuple[int, ...]) -> None:
        check_solution_map(student)
        check_derivative(student, shape)

    def at(self, context: Context, t: Tensor, noise: Tensor) -> Tensor:
        generator = context.generator
        other = self.times.sample(context.student.schedule, len(t), generator).to(t)
        apart = torch.rand(len(t), generator=generator, device=generator.device) < self.apart
        late = torch.where(apart, torch.maximum(t, other), t)
        return self.between(context, late, torch.where(apart, torch.minimum(t, other), t), noise)

    def between(self, context: Context, t: Tensor, s: Tensor, noise: Tensor) -> Tensor:
        """The loss of each sample for times ``t`` and second times ``s <= t``, ``(B,)``."""
        student, schedule = context.student, context.student.schedule
        scale, given = self.scale(context)
        x_t = on_path(context, t, context.x0, noise)

        def velocity(x_t: Tensor, t: Tensor) -> Tensor:
            return straight_velocity(schedule, student(x_t, t, context.cond, s=s, scale=given), x_t, t)

        with target_pass(x_t):
            ends = self.guided(context, x_t, t, direction(context, x_t, t, noise, scale), scale, given)
            _, change = along(velocity, schedule, x_t, t, ends, straight)
            target = ends[1] - ends[0] - self.gap(schedule, t, s).to(x_t).reshape(-1, *[1] * (x_t.ndim - 1)) * change
        error = (velocity(x_t, t) - target).square().flatten(1).mean(1)
        return error / (error.detach() + self.constant) ** self.power

    def gap(self, schedule: Schedule, t: Tensor, s: Tensor) -> Tensor:
        """``r_t - r_s``, ``(B,)``."""
        return straight(schedule.alpha(t), schedule.sigma(t)) - straight(schedule.alpha(s), schedule.sigma(s))

    def guided(
        self,
        context: Context,
        x_t: Tensor,
        t: Tensor,
        ends: tuple[Tensor, Tensor],
        scale: Tensor | None,
        given: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """x0 and noise of the guided velocity; the teacher's is guided already."""
        if scale is None or context.teacher is not None or context.cond is None:
            return ends
        null = context.student(x_t, t, context.cond.null(), s=t, scale=given)
        x0 = null + scale.reshape(-1, *[1] * (x_t.ndim - 1)) * (ends[0] - null)
        a, sigma = coefficients(context.student.schedule, t, x_t)
        return x0, (x_t - a * x0) / sigma


def straight(alpha: Tensor, sigma: Tensor) -> Tensor:
    """The time r of the straight path."""
    return sigma / (alpha + sigma)


def straight_velocity(schedule: Schedule, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """``u = (y - x0) / r``: the velocity that belongs to an x0 estimate."""
    a, sigma = coefficients(schedule, t, x_t)
    return (x_t / (a + sigma) - x0) * (a + sigma) / sigma
