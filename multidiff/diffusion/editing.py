"""Sampling from a given sample (image to image), inpainting, and interpolation between seeds.

Arguments are validated on construction. The result is called like `sample`.
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
from multidiff.diffusion.samplers.ancestral import transition_variance
from multidiff.diffusion.samplers.base import Denoise, History, Sampler, check_count, integrate
from multidiff.diffusion.samplers.multistep import Multistep
from multidiff.diffusion.samplers.noise_level import NoiseLevel
from multidiff.diffusion.schedules import Schedule

MIN_FIRST_STEP = 1e-3
"""Shortest first step, as a fraction of the first time: multistep methods divide a difference of estimates by it."""

OnStep = Callable[[int, Tensor], None]


class SampleFunction(Protocol):
    """A function that generates samples, with the signature of `sample`."""

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
    """Add noise to ``x0`` up to time ``strength * grid[0]``, then sample along the rest of the grid (SDEdit).

    Meng et al. (2022), algorithm 1, https://arxiv.org/abs/2108.01073.

    Args:
        x0: the sample to start from, broadcastable to ``(B, C, *size)``.
        strength: in (0, 1]. Values near 0 return ``x0``; at 1 only the signal ``alpha(grid[0])`` of it is kept.
    """

    x0: Tensor
    strength: float

    def __post_init__(self) -> None:
        _check_strength(self.strength)

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
        times = times_from(grid, self.strength)
        x = add_noise(self.x0, noise, sampler.schedule, times[0])
        return integrate(lambda x_t, t, *s: denoiser(x_t, t, cond, *s), x, noise, sampler, times, on_step)


@dataclass(frozen=True)
class Inpaint:
    """Regenerate the part of ``x0`` where ``mask`` is true, and keep the rest exactly.

    The denoiser returns ``x0`` for the known part. Every sampler is exact for a constant estimate, so the known part of
    x_t always has the noise level of the step and is never overwritten. Each step is resampled to harmonise the new
    part with the known part; the remaining mismatch falls as ``1 / repeats``. Lugmayr et al. (2022), algorithm 1,
    https://arxiv.org/abs/2201.09865.

    Args:
        x0: the known sample, broadcastable to ``(B, C, *size)``.
        mask: boolean, broadcastable likewise; true where the sample is regenerated.
        repeats: how many times each step is taken, which multiplies the cost; 1 does not resample.
        strength: in (0, 1]. Below 1, the masked part starts from ``x0`` with noise of time ``strength * grid[0]``, as
            for `Edit`; at 1, from noise alone.

    Raises:
        ValueError: the mask is not boolean, or a number is out of its range.
    """

    x0: Tensor
    mask: Tensor
    repeats: int = 5
    strength: float = 1.0

    def __post_init__(self) -> None:
        _check_strength(self.strength)
        check_count("repeats", self.repeats)
        if self.mask.dtype != torch.bool:
            raise ValueError(f"the mask must be boolean, got {self.mask.dtype}")

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
        times = times_from(grid, self.strength)

        def denoise(x_t: Tensor, t: Tensor, *s: Tensor) -> Tensor:
            return torch.where(self.mask, denoiser(x_t, t, cond, *s), self.x0)

        known = torch.where(self.mask, 0.0, self.x0) if self.strength == 1 else self.x0
        x = add_noise(known, noise, sampler.schedule, times[0])
        x = integrate(denoise, x, noise, Resampled(sampler, self.repeats), times, on_step)
        return torch.where(self.mask, x, self.x0)


def times_from(grid: Tensor, strength: float) -> Tensor:
    """The times of ``grid`` below ``strength * grid[0]``, which comes first; the whole grid at strength 1."""
    check_grid(grid)
    grid = grid.to("cpu", torch.float64)
    if strength == 1:
        return grid
    start = strength * grid[0]
    return torch.cat([start[None], grid[grid < (1 - MIN_FIRST_STEP) * start]])


def _check_strength(strength: float) -> None:
    if not 0 < strength <= 1:
        raise ValueError(f"strength must be above 0 (keep all) and at most 1 (keep nothing), got {strength}")


def add_noise(x0: Tensor, noise: NoiseSource, schedule: Schedule, t: Tensor) -> Tensor:
    """``alpha(t) x0 + sigma(t) noise``, with the initial noise of the sampler."""
    return schedule.alpha(t).item() * x0 + schedule.sigma(t).item() * noise.start()


@dataclass(frozen=True)
class Resampled(Sampler):
    """A sampler that takes every step but the last ``repeats`` times, with noise added back in between.

    ``x_t = (alpha_t / alpha_s) x_s + sqrt(v) z``, where v is the variance of x_t given x_s. Lugmayr et al. (2022),
    section 4.2, https://arxiv.org/abs/2201.09865, with jumps of one step.

    Args:
        inner: the sampler that takes the steps.
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
        """Order of the inner sampler; 1 for multistep methods, whose past estimates lie on another path."""
        return 1 if isinstance(self.inner, Multistep) and self.repeats > 1 else self.inner.order

    def step(self, denoise: Denoise, x_t: Tensor, t: Tensor, s: Tensor, history: History, noise: NoiseSource) -> Tensor:
        x = self.inner.step(denoise, x_t, t, s, history, noise)
        if s == 0:
            return x
        here, there = NoiseLevel.at(self.schedule, t), NoiseLevel.at(self.schedule, s)
        kept, added = here.alpha / there.alpha, transition_variance(here, there).sqrt()
        for repeat in range(1, self.repeats):
            branch = noise.branch(repeat)
            history.clear()
            x = self.inner.step(denoise, kept * x + added * branch.between(s, t), t, s, history, branch)
        return x


class MixedNoise(NoiseSource):
    """``sin((1 - part) pi / 2) a + sin(part pi / 2) b`` of two independent sources: standard normal for any ``part``.

    Spherical interpolation (Shoemake 1985, https://doi.org/10.1145/325334.325242) that takes the angle between the two
    as a right angle, which holds in expectation for independent noise. The result is exactly a at 0 and b at 1.

    Args:
        first: source a.
        second: source b, of the same shape, with other seeds.
        part: fraction of the way from a to b, in [0, 1], for each sample.
    """

    def __init__(self, first: NoiseSource, second: NoiseSource, part: Sequence[float]):
        if not all(0 <= p <= 1 for p in part):
            raise ValueError(f"part must be in [0, 1] for each sample, got {list(part)}")
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
