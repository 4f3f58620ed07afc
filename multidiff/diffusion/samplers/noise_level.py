"""A time of the schedule with its levels of signal and noise, and the one step that exists at every level."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from multidiff.diffusion.schedules import Schedule


@dataclass(frozen=True)
class NoiseLevel:
    """A time ``t`` with its ``alpha`` and ``sigma``: ``()`` in float64 on the CPU, or broadcastable to x."""

    t: Tensor
    alpha: Tensor
    sigma: Tensor

    @classmethod
    def at(cls, schedule: Schedule, t: Tensor) -> "NoiseLevel":
        """The level of ``schedule`` at time ``t``."""
        return _level(schedule.alpha, schedule.sigma, t)

    @cached_property
    def log_snr(self) -> Tensor:
        return torch.log(self.alpha) - torch.log(self.sigma)

    @property
    def ratio(self) -> Tensor:
        """``sigma / alpha``, the noise level of the variance-exploding view."""
        return self.sigma / self.alpha

    @property
    def is_end(self) -> bool:
        """Whether there is no noise or no signal here, so that log SNR is infinite and nothing can be interpolated."""
        return bool(torch.isinf(self.log_snr))


def euler_step(x_t: Tensor, x0: Tensor, t: NoiseLevel, s: NoiseLevel) -> Tensor:
    """``x_s = (sigma_s / sigma_t) x_t + (alpha_s - alpha_t sigma_s / sigma_t) x0``: finite also at both ends."""
    shrink = s.sigma / t.sigma
    return shrink * x_t + (s.alpha - t.alpha * shrink) * x0


def noise_estimate(x_t: Tensor, x0: Tensor, t: NoiseLevel) -> Tensor:
    """The noise that takes ``x0`` to ``x_t``."""
    return (x_t - t.alpha * x0) / t.sigma


@lru_cache(maxsize=8)  # the end of one step is the start of the next, as one tensor; bound methods go by their schedule
def _level(alpha: Callable[[Tensor], Tensor], sigma: Callable[[Tensor], Tensor], t: Tensor) -> NoiseLevel:
    return NoiseLevel(t, alpha(t), sigma(t))
