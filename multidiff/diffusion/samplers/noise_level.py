"""Noise levels of a schedule, and Euler's step between two of them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from multidiff.diffusion.schedules import Schedule


@dataclass(frozen=True)
class NoiseLevel:
    """A time ``t`` with its ``alpha`` and ``sigma``: each ``()`` in float64 on the CPU, or broadcastable to x."""

    t: Tensor
    alpha: Tensor
    sigma: Tensor

    @classmethod
    def at(cls, schedule: Schedule, t: Tensor) -> "NoiseLevel":
        """The noise level of ``schedule`` at time ``t``."""
        return _level(schedule.alpha, schedule.sigma, t)

    @cached_property
    def log_snr(self) -> Tensor:
        return torch.log(self.alpha) - torch.log(self.sigma)

    @property
    def ratio(self) -> Tensor:
        """``sigma / alpha``: the sigma of EDM and k-diffusion."""
        return self.sigma / self.alpha

    @property
    def is_end(self) -> bool:
        """Whether noise or signal is zero: log SNR is then infinite, and polynomials in it do not exist."""
        return bool(torch.isinf(self.log_snr))


def euler_step(x_t: Tensor, x0: Tensor, t: NoiseLevel, s: NoiseLevel) -> Tensor:
    """``x_s = (sigma_s / sigma_t) x_t + (alpha_s - alpha_t sigma_s / sigma_t) x0``: also finite at both ends."""
    shrink = s.sigma / t.sigma
    return shrink * x_t + (s.alpha - t.alpha * shrink) * x0


def noise_estimate(x_t: Tensor, x0: Tensor, t: NoiseLevel) -> Tensor:
    """The noise in ``x_t``, given ``x0``."""
    return (x_t - t.alpha * x0) / t.sigma


@lru_cache(maxsize=8)  # a step starts where the last ended, with the same tensor; bound methods hash by schedule
def _level(alpha: Callable[[Tensor], Tensor], sigma: Callable[[Tensor], Tensor], t: Tensor) -> NoiseLevel:
    return NoiseLevel(t, alpha(t), sigma(t))
