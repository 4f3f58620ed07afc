"""One-step solvers of the probability-flow ODE ``d(x / alpha) / d(sigma / alpha) = noise``."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.samplers.base import Denoise, History, Sampler
from multidiff.diffusion.samplers.noise_level import NoiseLevel, euler_step, noise_estimate
from multidiff.diffusion.schedules import Schedule


@dataclass(frozen=True)
class Euler(Sampler):
    """``x_s = (sigma_s / sigma_t) x_t + (alpha_s - alpha_t sigma_s / sigma_t) x0``.

    Euler's method with a constant noise estimate; exact where the x0 estimate is constant. Karras et al. (2022),
    algorithm 1 without the second-order correction, https://arxiv.org/abs/2206.00364.
    """

    schedule: Schedule
    evaluations = 1
    order = 1

    def step(self, denoise: Denoise, x_t: Tensor, t: Tensor, s: Tensor, history: History, noise: NoiseSource) -> Tensor:
        return euler_step(x_t, denoise(x_t, t), NoiseLevel.at(self.schedule, t), NoiseLevel.at(self.schedule, s))


@dataclass(frozen=True)
class Midpoint(Sampler):
    """Midpoint method: the noise estimate is taken at the midpoint of the step in log SNR.

    ``x_s / alpha_s = x_t / alpha_t + (sigma_s / alpha_s - sigma_t / alpha_t) noise_m``. This is
    DPM-Solver-2, Lu et al. (2022), algorithm 1, https://arxiv.org/abs/2206.00927, and ``sample_dpm_2`` of k-diffusion.
    """

    schedule: Schedule
    evaluations = 2
    order = 2

    def step(self, denoise: Denoise, x_t: Tensor, t: Tensor, s: Tensor, history: History, noise: NoiseSource) -> Tensor:
        here, there = NoiseLevel.at(self.schedule, t), NoiseLevel.at(self.schedule, s)
        x0 = denoise(x_t, t)
        if here.is_end or there.is_end:
            return euler_step(x_t, x0, here, there)
        half = NoiseLevel.at(self.schedule, self.schedule.time((here.log_snr + there.log_snr) / 2))
        x = euler_step(x_t, x0, here, half)
        slope = noise_estimate(x, denoise(x, half.t), half)
        return there.alpha / here.alpha * x_t + (there.sigma - there.alpha * here.ratio) * slope


@dataclass(frozen=True)
class Heun(Sampler):
    """Heun's method: Euler's step, corrected with the mean of the slopes at its two ends.

    ``x_s = euler + alpha_s (sigma_s / alpha_s - sigma_t / alpha_t) (noise_s - noise_t) / 2``. At zero signal and
    at zero noise one of the slopes does not exist, and the step is Euler's; the order remains 2 with one such step at
    each end. With churn, noise is added before the step, up to ``1 + churn`` times the noise level, but not beyond the
    highest noise level of the schedule.
    Karras et al. (2022), algorithms 1 and 2, https://arxiv.org/abs/2206.00364.

    Args:
        schedule: schedule of the denoiser.
        churn: the paper's gamma, ``S_churn / steps``; at most ``sqrt(2) - 1``.
        churn_min: lowest ``sigma / alpha`` with churn, S_tmin.
        churn_max: highest ``sigma / alpha`` with churn, S_tmax.
        churn_noise: standard deviation of the added noise, S_noise; slightly above 1 compensates for lost detail.
    """

    schedule: Schedule
    churn: float = 0.0
    churn_min: float = 0.0
    churn_max: float = math.inf
    churn_noise: float = 1.0
    evaluations = 2
    order = 2

    def __post_init__(self) -> None:
        if not 0 <= self.churn <= math.sqrt(2) - 1:
            raise ValueError(f"churn (S_churn / steps) must be from 0 to sqrt(2) - 1, got {self.churn}")

    @property
    def stochastic(self) -> bool:  # type: ignore[override]
        return self.churn > 0

    def step(self, denoise: Denoise, x_t: Tensor, t: Tensor, s: Tensor, history: History, noise: NoiseSource) -> Tensor:
        here, there = NoiseLevel.at(self.schedule, t), NoiseLevel.at(self.schedule, s)
        if self.stochastic and self.churn_min <= here.ratio <= self.churn_max and not here.is_end:
            x_t, here = self.add_churn(x_t, here, noise.between(t, s))
        x0 = denoise(x_t, here.t)
        euler = euler_step(x_t, x0, here, there)
        if here.is_end or there.is_end:
            return euler
        before, after = noise_estimate(x_t, x0, here), noise_estimate(euler, denoise(euler, s), there)
        return euler + (there.sigma - there.alpha * here.ratio) / 2 * (after - before)

    def add_churn(self, x_t: Tensor, t: NoiseLevel, z: Tensor) -> tuple[Tensor, NoiseLevel]:
        """``x_t`` with added noise, and its new noise level."""
        highest = self.schedule.log_snr(torch.ones_like(t.t))
        raised = torch.maximum(t.log_snr - math.log1p(self.churn), highest)
        if raised.isinf() or raised >= t.log_snr:
            return x_t, t
        up = NoiseLevel.at(self.schedule, self.schedule.time(raised))
        added = torch.sqrt(up.ratio**2 - t.ratio**2) * self.churn_noise
        return up.alpha * (x_t / t.alpha + added * z), up
