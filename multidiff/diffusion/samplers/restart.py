"""Restart sampling: noise is added back a few times over an interval of noise levels."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.samplers.base import Denoise, History, Sampler, check_count, integrate, sampler_from
from multidiff.diffusion.samplers.noise_level import NoiseLevel
from multidiff.diffusion.samplers.runge_kutta import Heun
from multidiff.diffusion.schedules import Schedule


@dataclass(frozen=True)
class Restart(Sampler):
    """Restart sampling: once below ``low``, add noise up to ``high`` and sample down again, ``repeats`` times.

    ``x_high = k x_s + sqrt(sigma_high^2 - (k sigma_s)^2) z`` with ``k = alpha_high / alpha_s``. The added noise
    contracts model errors that the ODE would accumulate. Nest restarts for several intervals. Xu et al. (2023),
    algorithm 1, https://arxiv.org/abs/2306.14878.

    Args:
        schedule: schedule of the denoiser.
        method: builds the inner sampler from the schedule: its class, or a partial; Heun in the paper.
        low: lower ``sigma / alpha`` of the interval.
        high: upper ``sigma / alpha`` of the interval.
        repeats: number of restarts, the paper's K.
        steps: steps of each restart, equal in the seventh root of ``sigma / alpha`` as on EDM's grid.
    """

    schedule: Schedule
    method: Callable[[Schedule], Sampler] = Heun
    low: float = 0.1
    high: float = 2.0
    repeats: int = 2
    steps: int = 4
    stochastic = True

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high:
            raise ValueError(f"need 0 < low < high, got {self.low} and {self.high}")
        check_count("repeats", self.repeats)
        check_count("steps", self.steps)
        sampler_from(self.method, self.schedule)

    @cached_property
    def inner(self) -> Sampler:
        """The inner sampler."""
        return sampler_from(self.method, self.schedule)

    @property
    def evaluations(self) -> int:  # type: ignore[override]
        """Evaluations of a step without restart; the step with the restarts adds ``repeats * steps`` inner steps."""
        return self.inner.evaluations

    @property
    def order(self) -> int:  # type: ignore[override]
        return self.inner.order

    def step(self, denoise: Denoise, x_t: Tensor, t: Tensor, s: Tensor, history: History, noise: NoiseSource) -> Tensor:
        here, there = NoiseLevel.at(self.schedule, t), NoiseLevel.at(self.schedule, s)
        x = self.inner.step(denoise, x_t, t, s, history, noise)
        if not there.ratio <= self.low < here.ratio:
            return x
        history.clear()  # its estimates belong to the abandoned path
        times = self.restart_times(there)
        top = NoiseLevel.at(self.schedule, times[0])
        kept = top.alpha / there.alpha
        added = torch.sqrt(top.sigma**2 - (kept * there.sigma) ** 2)
        for repeat in range(self.repeats):
            branch = noise.branch(self.low, self.high, repeat)
            x = integrate(denoise, kept * x + added * branch.between(s, top.t), branch, self.inner, times)
        return x

    def restart_times(self, stop: NoiseLevel) -> Tensor:
        """The times from ``high``, or the highest noise level of the schedule if that is lower, to ``stop``."""
        start = torch.minimum(torch.tensor(self.high), self.schedule.log_snr(torch.ones_like(stop.t)).neg().exp())
        roots = torch.lerp(start ** (1 / 7), stop.ratio ** (1 / 7), torch.linspace(0, 1, self.steps + 1).double())
        times = self.schedule.time(-7 * torch.log(roots)).clamp(max=1)
        return torch.cat([times[:-1], stop.t[None]])
