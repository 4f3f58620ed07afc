"""Distribution matching distillation."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import Denoiser, NetworkDenoiser, coefficients
from multidiff.diffusion.objectives.base import Context
from multidiff.diffusion.objectives.few_step import FewStep, check_start, on_path
from multidiff.diffusion.objectives.guided_distillation import GridTimes
from multidiff.diffusion.objectives.times import TimeDistribution


@dataclass(frozen=True, kw_only=True)
class DistributionMatching(FewStep):
    """Distribution matching distillation: student and teacher samples get one distribution at every noise level.

    A second network, the fake-score network, learns to denoise the student's samples. The gradient of the student's
    sample x is ``(fake - real) / mean |x - real|``, with the x0 estimates of that network and of the teacher at a
    random noise level: the gradient of the KL divergence of the noisy samples, weighted by ``sigma^2 / alpha``. Yin et
    al. (2024), eq. 7-8, https://arxiv.org/abs/2311.18828, without their regression loss and with several updates of the
    fake-score network for one of the student, as in their DMD2, https://arxiv.org/abs/2405.14867.

    The student maps the noisy samples at each of its n times to samples, at the first time noise alone.

    Args:
        times: the n steps of the student.
        levels: distribution of the times at which samples are compared.
        every: steps of the fake-score network for one of the student.

    Raises:
        ValueError: ``every`` is below 1.
    """

    times: GridTimes
    levels: TimeDistribution
    every: int = 5
    needs_teacher: ClassVar[bool] = True
    needs_fake_score: ClassVar[bool] = True
    samplers: ClassVar[tuple[str, ...]] = ("consistency",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.every < 1:
            raise ValueError(f"every must be at least 1, got {self.every}")

    @property
    def partial(self) -> bool:
        return self.every > 1

    @property
    def steps(self) -> int:
        return self.times.steps

    def check(self, student: NetworkDenoiser, teacher: Denoiser | None, shape: tuple[int, ...]) -> None:
        super().check(student, teacher, shape)
        check_start(student)

    def at(self, context: Context, t: Tensor, noise: Tensor) -> Tensor:
        student, measured = context.student, not torch.is_grad_enabled()
        learns = context.step % self.every == 0
        scale, given = self.scale(context)
        with torch.set_grad_enabled(learns and not measured):
            x0 = student(self.start(context, t, noise), t, context.cond, scale=given)
        level = self.levels.sample(student.schedule, len(x0), context.generator)
        other = torch.randn(x0.shape, generator=context.generator, device=x0.device, dtype=x0.dtype)
        loss = self.denoising(context, x0.detach(), level, other, given)
        if learns or measured:
            push = self.push(context, x0.detach(), level, other, scale, given)
            loss = loss + 0.5 * (x0 - (x0 - push).detach()).square().flatten(1).mean(1)
        return loss

    def start(self, context: Context, t: Tensor, noise: Tensor) -> Tensor:
        """What the student maps to samples: noisy data, or noise alone at the first of its times."""
        first = (t > 1 - 0.5 / self.steps).reshape(-1, *[1] * (noise.ndim - 1))
        return on_path(context, t, torch.where(first, 0.0, context.x0), noise)

    def denoising(self, context: Context, x0: Tensor, level: Tensor, noise: Tensor, given: Tensor | None) -> Tensor:
        """The loss of the fake-score network on samples ``x0`` of the student, ``(B,)``."""
        fake = self.fake_score(context)
        a, s = coefficients(fake.schedule, level, x0)
        output = fake.output(a * x0 + s * noise, level, _detached(context), scale=given)
        return (output - fake.prediction.target(x0, noise, a, s)).square().flatten(1).mean(1)

    @torch.no_grad()
    def push(
        self, context: Context, x0: Tensor, level: Tensor, noise: Tensor, scale: Tensor | None, given: Tensor | None
    ) -> Tensor:
        """The gradient of the student's samples ``x0``, like them."""
        x_t = on_path(context, level, x0, noise)
        real = context.taught(x_t, level, scale)
        fake = self.fake_score(context)(x_t, level, _detached(context), scale=given)
        size = (x0 - real).abs().flatten(1).mean(1).reshape(-1, *[1] * (x0.ndim - 1))
        return (fake - real) / size.clamp(min=torch.finfo(size.dtype).tiny)

    def fake_score(self, context: Context) -> NetworkDenoiser:
        """The fake-score network.

        Raises:
            ValueError: the context has none.
        """
        if context.fake_score is None:
            raise ValueError("distribution matching trains a second network, and the context has no fake_score")
        return context.fake_score


def _detached(context: Context) -> Conditioning | None:
    """The student's condition, whose encoder the fake-score network does not train."""
    return None if context.cond is None else context.cond.detach()
