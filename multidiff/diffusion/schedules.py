"""Noise schedules: the scale of the signal ``alpha(t)`` and of the noise ``sigma(t)`` at time t.

Time runs from 0 (clean) to 1 (noise). Every schedule starts at ``alpha = 1, sigma = 0`` exactly. All functions are
elementwise, keep the dtype and the device of their argument, and are finite on [0, 1] except ``log_snr``, which is
infinite at zero noise or zero signal.
"""

import logging
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

log = logging.getLogger(__name__)


class Schedule(ABC):
    """The path ``x_t = alpha(t) x0 + sigma(t) noise`` from data at t = 0 to noise at t = 1.

    Attributes:
        earliest: lowest time above 0 that a network is trained at, where the schedule knows it; grids start their last
            step there or above.
    """

    earliest: float = 0.0

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Scale of the clean sample at time ``t`` in [0, 1]."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """Standard deviation of the noise at time ``t`` in [0, 1]."""

    def log_snr(self, t: Tensor) -> Tensor:
        """``log(alpha / sigma)``, half the log signal-to-noise ratio; decreasing in ``t``."""
        return torch.log(self.alpha(t)) - torch.log(self.sigma(t))

    @abstractmethod
    def time(self, log_snr: Tensor) -> Tensor:
        """The inverse of ``log_snr``."""


MOST_SIGNAL = 0.1
"""Largest ``alpha(1) / sigma(1)`` without a warning; that of Stable Diffusion, which is known for it, is 0.068."""


def check_schedule(schedule: Schedule) -> None:
    """Refuse a schedule that samplers cannot work with, and warn of one that still has much signal at t = 1.

    Raises:
        ValueError: it does not start at alpha = 1 and sigma = 0, log SNR does not decrease, or `Schedule.time` is not
            its inverse.
    """
    name, t = type(schedule).__name__, torch.linspace(0, 1, 11, dtype=torch.float64)
    (alpha, *_, last), (sigma, *_, noise) = schedule.alpha(t).tolist(), schedule.sigma(t).tolist()
    if (alpha, sigma) != (1, 0):
        raise ValueError(f"the schedule {name} must start at alpha = 1 and sigma = 0, got {alpha:g} and {sigma:g}")
    log_snr = schedule.log_snr(t)
    if not (log_snr[1:] < log_snr[:-1]).all():
        raise ValueError(f"the log SNR of the schedule {name} must decrease from t = 0 to 1, got {log_snr.tolist()}")
    found = schedule.time(log_snr[1:-1])
    if not torch.allclose(found, t[1:-1], atol=1e-3):
        raise ValueError(
            f"time of the schedule {name} must be the inverse of log_snr, got {found.tolist()} for {t[1:-1].tolist()}"
        )
    if last > MOST_SIGNAL * noise:
        log.warning(
            "the schedule %s ends with the signal alpha / sigma = %.3g, above %g: samples start from noise without "
            "signal, so they may differ from the data",
            name,
            last / noise,
            MOST_SIGNAL,
        )


@dataclass(frozen=True)
class LinearVP(Schedule):
    """Variance-preserving schedule with ``beta(t)`` linear from ``beta_min`` to ``beta_max``.

    ``alpha = exp(-(beta_max - beta_min) t^2 / 4 - beta_min t / 2)``. Song et al. (2021), eq. 32-33,
    https://arxiv.org/abs/2011.13456; the continuous-time limit of DDPM's thousand steps.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.beta_min < self.beta_max:
            raise ValueError(f"need 0 < beta_min < beta_max, got {self.beta_min} and {self.beta_max}")

    def log_alpha(self, t: Tensor) -> Tensor:
        """``log alpha(t)``, precise also where alpha is close to 1."""
        return -(self.beta_max - self.beta_min) / 4 * t**2 - self.beta_min / 2 * t

    def alpha(self, t: Tensor) -> Tensor:
        return torch.exp(self.log_alpha(t))

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sqrt(-torch.expm1(2 * self.log_alpha(t)))

    def time(self, log_snr: Tensor) -> Tensor:
        loss = F.softplus(-2 * log_snr)  # -2 log alpha
        return 2 * loss / (self.beta_min + torch.sqrt(self.beta_min**2 + 2 * (self.beta_max - self.beta_min) * loss))


class Cosine(Schedule):
    """Variance-preserving cosine schedule: ``alpha = cos(pi t / 2)``, ``sigma = sin(pi t / 2)``.

    Nichol and Dhariwal (2021), https://arxiv.org/abs/2102.09672, in continuous time, without offset.
    """

    def alpha(self, t: Tensor) -> Tensor:
        return torch.sin((1 - t) * (math.pi / 2))  # the cosine, exactly 0 at t = 1

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sin(t * (math.pi / 2))

    def time(self, log_snr: Tensor) -> Tensor:
        return torch.atan(torch.exp(-log_snr)) * (2 / math.pi)


@dataclass(frozen=True)
class Sigmoid(Schedule):
    """Variance-preserving schedule whose signal power ``alpha^2`` follows a logistic curve.

    ``alpha^2 = (g(1) - g(t)) / (g(1) - g(0))`` with ``g(t) = sigmoid((start + (end - start) t) / temperature)``.
    Jabri et al. (2022), algorithm 1, https://arxiv.org/abs/2212.11972.
    """

    start: float = -3.0
    end: float = 3.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not (self.start < self.end and self.temperature > 0):
            raise ValueError(
                f"need start < end and temperature > 0, got {self.start}, {self.end} and {self.temperature}"
            )

    def alpha(self, t: Tensor) -> Tensor:
        return torch.sqrt(self._difference(t, torch.ones_like(t)) / self._whole(t))

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sqrt(self._difference(torch.zeros_like(t), t) / self._whole(t))

    def time(self, log_snr: Tensor) -> Tensor:
        low, high = (math.tanh(edge / self.temperature / 2) for edge in (self.start, self.end))
        value = low + (high - low) * torch.sigmoid(-2 * log_snr)
        return (2 * self.temperature * torch.atanh(value) - self.start) / (self.end - self.start)

    def _difference(self, early: Tensor, late: Tensor) -> Tensor:
        """``tanh(late) - tanh(early)`` of the half logits, as a product that avoids cancellation."""
        ends = [((self.end - self.start) * t + self.start) / self.temperature / 2 for t in (early, late)]
        width = (late - early) * (self.end - self.start) / self.temperature / 2
        return torch.sinh(width) / (torch.cosh(ends[0]) * torch.cosh(ends[1]))

    def _whole(self, t: Tensor) -> Tensor:
        return self._difference(torch.zeros_like(t), torch.ones_like(t))


@dataclass(frozen=True)
class Karras(Schedule):
    """Variance-exploding schedule of EDM: ``alpha = 1``; uniform times give the noise levels of the EDM sampler.

    ``sigma = (a + t (b - a))^rho - a^rho`` with ``a = sigma_min^(1/rho)`` and ``b`` such that ``sigma(1) = sigma_max``.
    EDM (Karras et al. 2022, eq. 5, https://arxiv.org/abs/2206.00364) has no ``- a^rho``: it ends at sigma_min and then
    jumps to 0. This one reaches 0 smoothly; below sigma_min the spacing becomes linear.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def __post_init__(self) -> None:
        if not (0 < self.sigma_min < self.sigma_max and self.rho >= 1):
            raise ValueError(
                f"need 0 < sigma_min < sigma_max and rho >= 1, got {self.sigma_min}, {self.sigma_max} and {self.rho}"
            )

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        slope = self._root(self.sigma_max) / self._root(0.0) - 1
        return self.sigma_min * torch.expm1(self.rho * torch.log1p(t * slope))

    def time(self, log_snr: Tensor) -> Tensor:
        slope = self._root(self.sigma_max) / self._root(0.0) - 1
        return torch.expm1(torch.log1p(torch.exp(-log_snr) / self.sigma_min) / self.rho) / slope

    def _root(self, sigma: float) -> float:
        return (sigma + self.sigma_min) ** (1 / self.rho)


@dataclass(frozen=True)
class RectifiedFlow(Schedule):
    """Straight paths, ``alpha = 1 - u`` and ``sigma = u``, with times shifted towards noise.

    ``u = shift t / (1 + (shift - 1) t)``: ``shift`` multiplies sigma / alpha; use values above 1 for
    larger samples.
    Liu et al. (2022), https://arxiv.org/abs/2209.03003; the shift is eq. 23 of https://arxiv.org/abs/2403.03206.
    """

    shift: float = 1.0

    def __post_init__(self) -> None:
        if self.shift <= 0:
            raise ValueError(f"shift must be positive, got {self.shift}")

    def alpha(self, t: Tensor) -> Tensor:
        return (1 - t) / (1 + (self.shift - 1) * t)

    def sigma(self, t: Tensor) -> Tensor:
        return self.shift * t / (1 + (self.shift - 1) * t)

    def time(self, log_snr: Tensor) -> Tensor:
        return torch.sigmoid(-log_snr - math.log(self.shift))


@dataclass(frozen=True)
class ZeroTerminalSNR(Schedule):
    """A variance-preserving schedule rescaled to zero terminal SNR, ``alpha(1) = 0``.

    ``alpha'(t) = (alpha(t) - alpha(1)) / (1 - alpha(1))``. Lin et al. (2023), algorithm 1,
    https://arxiv.org/abs/2305.08891.

    Raises:
        ValueError: ``schedule`` does not preserve variance.
    """

    schedule: Schedule

    def __post_init__(self) -> None:
        t = torch.linspace(0, 1, 5, dtype=torch.float64)
        if not torch.allclose(self.schedule.alpha(t) ** 2 + self.schedule.sigma(t) ** 2, torch.ones_like(t)):
            raise ValueError(
                f"{type(self.schedule).__name__} does not preserve variance, so its SNR cannot be rescaled"
            )

    def alpha(self, t: Tensor) -> Tensor:
        last = self.schedule.alpha(torch.ones_like(t))
        return (self.schedule.alpha(t) - last) / (1 - last)

    def sigma(self, t: Tensor) -> Tensor:
        alpha, last = self.schedule.alpha(t), self.schedule.alpha(torch.ones_like(t))
        missing = self.schedule.sigma(t) ** 2 / (1 + alpha) / (1 - last)  # 1 - alpha', without cancellation
        return torch.sqrt(missing * (2 - missing))

    def time(self, log_snr: Tensor) -> Tensor:
        last = self.schedule.alpha(torch.ones_like(log_snr))
        kept = torch.sqrt(torch.sigmoid(2 * log_snr))
        missing = torch.sigmoid(-2 * log_snr) / (1 + kept) * (1 - last)  # 1 - alpha of the inner schedule
        return self.schedule.time(torch.log1p(-missing) - torch.log(missing * (2 - missing)) / 2)
