"""DDPM and DDIM: Gaussian steps whose mean holds the x0 estimate."""

from dataclasses import dataclass

import torch
from torch import Tensor

from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.samplers.base import Denoise, History, Sampler, noise_estimate
from multidiff.diffusion.schedules import Schedule


def lost_variance(schedule: Schedule, t: Tensor, s: Tensor) -> Tensor:
    """Variance of x_t given x_s: ``sigma_t^2 - (alpha_t / alpha_s)^2 sigma_s^2``."""
    return schedule.sigma(t) ** 2 - (schedule.alpha(t) / schedule.alpha(s) * schedule.sigma(s)) ** 2


@dataclass(frozen=True)
class DDPM(Sampler):
    """Ancestral sampling from ``q(x_s | x_t, x0)`` with the estimate in place of x0.

    ``x_s = (alpha_t / alpha_s) k^2 x_t + alpha_s (v / sigma_t^2) x0 + sqrt(v) k z``, where v is the variance of x_t
    given x_s and ``k = sigma_s / sigma_t``. Ho et al. (2020), eq. 6-7, https://arxiv.org/abs/2006.11239.
    """

    schedule: Schedule
    evaluations = 1
    order = 1
    stochastic = True

    def step(self, denoise: Denoise, x_t: Tensor, t: Tensor, s: Tensor, history: History, noise: NoiseSource) -> Tensor:
        alpha, sigma = self.schedule.alpha, self.schedule.sigma
        x0 = denoise(x_t, t)
        lost, kept = lost_variance(self.schedule, t, s), sigma(s) / sigma(t)
        mean = alpha(t) / alpha(s) * kept**2 * x_t + alpha(s) * lost / sigma(t) ** 2 * x0
        return mean + torch.sqrt(lost) * kept * noise.between(t, s)


@dataclass(frozen=True)
class DDIM(Sampler):
    """From DDIM (``eta = 0``, deterministic, equal to Euler) to DDPM (``eta = 1``).

    ``x_s = alpha_s x0 + sqrt(sigma_s^2 - d^2) noise + d z`` with ``d = eta sqrt(v) sigma_s / sigma_t``, where v is the
    variance of x_t given x_s. Song et al. (2021), eq. 12 and 16, https://arxiv.org/abs/2010.02502.
    """

    schedule: Schedule
    eta: float = 0.0
    evaluations = 1
    order = 1

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta runs from 0 (deterministic) to 1 (ancestral), got {self.eta}")

    @property
    def stochastic(self) -> bool:  # type: ignore[override]
        return self.eta > 0

    def step(self, denoise: Denoise, x_t: Tensor, t: Tensor, s: Tensor, history: History, noise: NoiseSource) -> Tensor:
        alpha, sigma = self.schedule.alpha, self.schedule.sigma
        x0 = denoise(x_t, t)
        fresh = self.eta * torch.sqrt(lost_variance(self.schedule, t, s)) * sigma(s) / sigma(t)
        kept = torch.sqrt(sigma(s) ** 2 - fresh**2)
        x_s = alpha(s) * x0 + kept * noise_estimate(x_t, x0, alpha(t), sigma(t))
        return x_s + fresh * noise.between(t, s) if self.stochastic else x_s
