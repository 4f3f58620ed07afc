"""Ancestral samplers: a step along the ODE below the target noise level, then fresh noise."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.samplers.base import Denoise, History, Sampler, sampler_from
from multidiff.diffusion.samplers.dpm_solver import DPMSolverSinglestep
from multidiff.diffusion.samplers.noise_level import NoiseLevel, euler_step, noise_estimate
from multidiff.diffusion.schedules import Schedule


def transition_variance(t: NoiseLevel, s: NoiseLevel) -> Tensor:
    """Variance of x_t given x_s: ``sigma_t^2 - (alpha_t / alpha_s)^2 sigma_s^2``."""
    return t.sigma**2 - (t.alpha / s.alpha * s.sigma) ** 2


@dataclass(frozen=True)
class DDPM(Sampler):
    """Ancestral sampling from ``q(x_s | x_t, x0)``, with the x0 estimate in place of x0.

    ``x_s = (alpha_t / alpha_s) k^2 x_t + alpha_s (v / sigma_t^2) x0 + sqrt(v) k z``, where v is the variance of x_t
    given x_s and ``k = sigma_s / sigma_t``. Ho et al. (2020), eq. 6-7, https://arxiv.org/abs/2006.11239.
    """

    schedule: Schedule
    evaluations = 1
    order = 1
    stochastic = True

    def step(self, denoise: Denoise, x_t: Tensor, t: Tensor, s: Tensor, history: History, noise: NoiseSource) -> Tensor:
        here, there = NoiseLevel.at(self.schedule, t), NoiseLevel.at(self.schedule, s)
        x0 = denoise(x_t, t)
        lost, kept = transition_variance(here, there), there.sigma / here.sigma
        mean = here.alpha / there.alpha * kept**2 * x_t + there.alpha * lost / here.sigma**2 * x0
        return mean + torch.sqrt(lost) * kept * noise.between(t, s)


@dataclass(frozen=True)
class DDIM(Sampler):
    """From DDIM (``eta = 0``, deterministic, equal to Euler) to DDPM (``eta = 1``, also known as Euler ancestral).

    ``x_s = alpha_s x0 + sqrt(sigma_s^2 - d^2) noise + d z`` with ``d = eta sqrt(v) sigma_s / sigma_t``, where v is the
    variance of x_t given x_s. Song et al. (2021), eq. 12 and 16, https://arxiv.org/abs/2010.02502.
    """

    schedule: Schedule
    eta: float = 0.0
    evaluations = 1
    order = 1

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta must be from 0 (deterministic) to 1 (ancestral), got {self.eta}")

    @property
    def stochastic(self) -> bool:  # type: ignore[override]
        return self.eta > 0

    def step(self, denoise: Denoise, x_t: Tensor, t: Tensor, s: Tensor, history: History, noise: NoiseSource) -> Tensor:
        here, there = NoiseLevel.at(self.schedule, t), NoiseLevel.at(self.schedule, s)
        x0 = denoise(x_t, t)
        if not self.stochastic:
            return euler_step(x_t, x0, here, there)
        fresh = self.eta * torch.sqrt(transition_variance(here, there)) * there.sigma / here.sigma
        kept = torch.sqrt(there.sigma**2 - fresh**2)
        return there.alpha * x0 + kept * noise_estimate(x_t, x0, here) + fresh * noise.between(t, s)


@dataclass(frozen=True)
class Ancestral(Sampler):
    """A deterministic step below the noise level of s, then as much fresh noise as DDIM adds at the same ``eta``.

    With ``r = sigma / alpha``: a step down to ``sqrt(r_s^2 - u^2)``, then noise of
    ``u = eta r_s sqrt(1 - r_s^2 / r_t^2)``. The distribution of the samples converges at the order of the deterministic
    step. With single-step DPM-Solver++ of order 2 this is DPM++ 2S ancestral; with Euler it is DDIM. Song et al.
    (2021), eq. 16, https://arxiv.org/abs/2010.02502; the composition is that of k-diffusion.

    Args:
        schedule: schedule of the denoiser.
        method: builds the deterministic one-step sampler from the schedule: its class, or a partial.
        eta: from 0 (deterministic) to 1.
    """

    schedule: Schedule
    method: Callable[[Schedule], Sampler] = DPMSolverSinglestep
    eta: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta must be from 0 (deterministic) to 1, got {self.eta}")
        sampler_from(self.method, self.schedule)

    @cached_property
    def inner(self) -> Sampler:
        """The deterministic sampler."""
        return sampler_from(self.method, self.schedule)

    @property
    def evaluations(self) -> int:  # type: ignore[override]
        return self.inner.evaluations

    @property
    def order(self) -> int:  # type: ignore[override]
        return self.inner.order

    @property
    def stochastic(self) -> bool:  # type: ignore[override]
        return self.eta > 0

    def step(self, denoise: Denoise, x_t: Tensor, t: Tensor, s: Tensor, history: History, noise: NoiseSource) -> Tensor:
        here, there = NoiseLevel.at(self.schedule, t), NoiseLevel.at(self.schedule, s)
        if there.sigma == 0 or not self.stochastic:
            return self.inner.step(denoise, x_t, t, s, history, noise)
        kept = (here.alpha / there.alpha * there.sigma / here.sigma) ** 2
        up = self.eta * torch.sqrt(1 - kept)
        log_snr = there.log_snr - torch.log1p(-(up**2)) / 2
        down = NoiseLevel.at(self.schedule, torch.where(log_snr.isinf(), 0.0, self.schedule.time(log_snr)))
        x = self.inner.step(denoise, x_t, t, down.t, history, noise)
        return there.alpha / down.alpha * x + there.sigma * up * noise.between(t, s)
