"""Sampling that starts from something given: a sample to vary, the part of a sample to keep, or seeds to mix.

What is given is checked when it is given; the result is called as `sample` is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import Denoiser
from multidiff.diffusion.grids import check_grid
from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.samplers.ancestral import lost_variance
from multidiff.diffusion.samplers.base import Denoise, History, Sampler, integrate
from multidiff.diffusion.samplers.multistep import Multistep
from multidiff.diffusion.samplers.noise_level import NoiseLevel
from multidiff.diffusion.schedules import Schedule

SHORTEST = 1e-3
"""Of the first time: a shorter first step would divide the difference of two estimates by next to nothing."""


OnStep = Callable[[int, Tensor], None]


class SampleFunction(Protocol):
    """A way to draw samples, called as `sample` is."""

    def __call__(
        self,
        denoiser: Denoiser,
        noise: NoiseSource,
        sampler: Sampler,
        grid: Tensor,
        cond: Conditioning | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor: ...


@dataclass(frozen=True)
class Edit:
    """Noise ``x0`` to the time ``strength * grid[0]``, then sample along what is left of the grid.

    Meng et al. (2022), algorithm 1, https://arxiv.org/abs/2108.01073.

    Args:
        x0: what to start from, broadcastable to ``(B, C, *size)``.
        strength: in (0, 1]; next to 0 returns ``x0``, 1 keeps of it the ``alpha`` that the schedule has at ``grid[0]``.
    """

    x0: Tensor
    strength: float

    def __post_init__(self) -> None:
        if not 0 < self.strength <= 1:
            raise ValueError(f"the strength is above 0 (keep all) and at most 1 (keep nothing), got {self.strength}")

    @torch.no_grad()
    def __call__(
        self,
        denoiser: Denoiser,
        noise: NoiseSource,
        sampler: Sampler,
        grid: Tensor,
        cond: Conditioning | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        check_grid(grid)
        grid = grid.to("cpu", torch.float64)
        start = self.strength * grid[0]
        times = torch.cat([start[None], grid[grid < (1 - SHORTEST) * start]])
        x = noised(self.x0, noise, sampler.schedule, start)
        return integrate(lambda x_t, t: denoiser(x_t, t, cond), x, noise, sampler, times, on_step)


@dataclass(frozen=True)
class Inpaint:
    """Make anew the part of ``x0`` where ``mask`` is true, and keep the rest exactly.

    The rest of x_t is ``x0`` at the noise level of the step, which needs no replacing: every sampler follows a constant
    estimate exactly. Each step is resampled, so that the new part comes to agree with the rest; what is missing from
    that falls as one over ``repeats``. Lugmayr et al. (2022), algorithm 1, https://arxiv.org/abs/2201.09865.

    Args:
        x0: what is known, broadcastable to ``(B, C, *size)``.
        mask: of booleans, likewise.
        repeats: how often each step is taken, and paid for; 1 does not resample.
    """

    x0: Tensor
    mask: Tensor
    repeats: int = 5

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise ValueError(f"each step is taken at least once, got {self.repeats} repeats")

    @torch.no_grad()
    def __call__(
        self,
        denoiser: Denoiser,
        noise: NoiseSource,
        sampler: Sampler,
        grid: Tensor,
        cond: Conditioning | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        check_grid(grid)
        times = grid.to("cpu", torch.float64)

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            return torch.where(self.mask, denoiser(x_t, t, cond), self.x0)

        x = noised(torch.where(self.mask, 0.0, self.x0), noise, sampler.schedule, times[0])
        x = integrate(denoise, x, noise, Resampled(sampler, self.repeats), times, on_step)
        return torch.where(self.mask, x, self.x0)


def noised(x0: Tensor, noise: NoiseSource, schedule: Schedule, t: Tensor) -> Tensor:
    """``alpha(t) x0 + sigma(t) noise`` with the noise that sampling starts from."""
    return schedule.alpha(t).item() * x0 + schedule.sigma(t).item() * noise.start()


@dataclass(frozen=True)
class Resampled(Sampler):
    """Every step down but the last, followed by ``repeats - 1`` times the noise that leads back up and the step again.

    ``x_t = (alpha_t / alpha_s) x_s + sqrt(v) z``, where v is the variance of x_t given x_s. Lugmayr et al. (2022),
    section 4.2, https://arxiv.org/abs/2201.09865, with jumps of one step.

    Args:
        inner: takes the steps.
        repeats: the paper's r, at least 1.
    """

    inner: Sampler
    repeats: int
    stochastic = True

    @property
    def schedule(self) -> Schedule:  # type: ignore[override]
        return self.inner.schedule

    @property
    def evaluations(self) -> int:  # type: ignore[override]
        return self.inner.evaluations * self.repeats

    @property
    def order(self) -> int:  # type: ignore[override]
        """The inner sampler's; first order, where that needs estimates from before, which lie on another path."""
        return 1 if isinstance(self.inner, Multistep) and self.repeats > 1 else self.inner.order

    def step(self, denoise: Denoise, x_t: Tensor, t: Tensor, s: Tensor, history: History, noise: NoiseSource) -> Tensor:
        x = self.inner.step(denoise, x_t, t, s, history, noise)
        if s == 0:
            return x
        here, there = NoiseLevel.at(self.schedule, t), NoiseLevel.at(self.schedule, s)
        kept, added = here.alpha / there.alpha, lost_variance(here, there).sqrt()
        for repeat in range(1, self.repeats):
            branch = noise.branch(repeat)
            history.clear()
            x = self.inner.step(denoise, kept * x + added * branch.between(s, t), t, s, history, branch)
        return x


class MixedNoise(NoiseSource):
    """``sin((1 - part) pi / 2) a + sin(part pi / 2) b`` of two independent sources: standard normal for every part.

    Spherical interpolation (Shoemake 1985, https://doi.org/10.1145/325334.325242) at the right angle that independent
    noise makes, in expectation; exact in law, and exactly a at 0 and b at 1.

    Args:
        first: a.
        second: b, of the same shape, whose seeds are others.
        part: from 0 to 1 for each sample.
    """

    def __init__(self, first: NoiseSource, second: NoiseSource, part: Sequence[float]):
        if not all(0 <= p <= 1 for p in part):
            raise ValueError(f"noise is mixed in parts from 0 to 1, got {list(part)}")
        self.first, self.second = first, second
        self.size, self.dtype, self.device = first.size, first.dtype, first.device
        self.part = part

    def start(self) -> Tensor:
        return self._mixed(self.first.start(), self.second.start())

    def between(self, t: Tensor, s: Tensor) -> Tensor:
        return self._mixed(self.first.between(t, s), self.second.between(t, s))

    def branch(self, *numbers: float) -> "MixedNoise":
        return MixedNoise(self.first.branch(*numbers), self.second.branch(*numbers), self.part)

    def _mixed(self, a: Tensor, b: Tensor) -> Tensor:
        angle = a.new_tensor(self.part).reshape(-1, *[1] * (a.ndim - 1)) * (torch.pi / 2)
        return torch.sin(torch.pi / 2 - angle) * a + torch.sin(angle) * b
