"""Distributions of the training times."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from multidiff.diffusion.schedules import Schedule

_MARGIN = 1e-5
"""Times are clamped to [margin, 1 - margin]: at the ends, x_t does not depend on the noise or on x0."""

RARE = 1e-3
"""Fraction of the training times at an end of their range that is too small to learn from."""


class TimeDistribution(ABC):
    """A distribution of training times."""

    @abstractmethod
    def quantile(self, u: Tensor, schedule: Schedule) -> Tensor:
        """The quantile function (inverse CDF): ``u`` in (0, 1) to times."""

    def log_snr_range(self, schedule: Schedule) -> tuple[float, float]:
        """The log SNRs between which all times lie but the `RARE` ones at either end."""
        ends = schedule.log_snr(self.quantile(torch.tensor([1 - RARE, RARE], dtype=torch.float64), schedule))
        return float(ends[0]), float(ends[1])

    def uniforms(self, count: int, generator: torch.Generator) -> Tensor:
        """``count`` uniform values in [0, 1), the arguments of the quantile function."""
        return torch.rand(count, generator=generator, device=generator.device, dtype=torch.float32)

    def sample(self, schedule: Schedule, count: int, generator: torch.Generator) -> Tensor:
        """Sample ``count`` times on the generator's device, ``(count,)`` in float32."""
        u = self.uniforms(count, generator).clamp(1e-6, 1 - 1e-6)
        return self.quantile(u, schedule).clamp(_MARGIN, 1 - _MARGIN)


class Uniform(TimeDistribution):
    """Uniformly distributed times."""

    def quantile(self, u: Tensor, schedule: Schedule) -> Tensor:
        return u


@dataclass(frozen=True)
class LogitNormal(TimeDistribution):
    """Logit-normal times, which favour the middle of the path.

    Esser et al. (2024), section 3.1, https://arxiv.org/abs/2403.03206.
    """

    mean: float = 0.0
    std: float = 1.0

    def quantile(self, u: Tensor, schedule: Schedule) -> Tensor:
        return torch.sigmoid(self.mean + self.std * torch.special.ndtri(u))


@dataclass(frozen=True)
class LogNormalSigma(TimeDistribution):
    """Times with log-normal noise level ``sigma / alpha``.

    Karras et al. (2022), table 1, https://arxiv.org/abs/2206.00364.
    """

    mean: float = -1.2
    std: float = 1.2

    def quantile(self, u: Tensor, schedule: Schedule) -> Tensor:
        return schedule.time(-(self.mean + self.std * torch.special.ndtri(u)))


@dataclass(frozen=True)
class Stratified(TimeDistribution):
    """Stratified sampling: one time from each of B equally probable strata, in random order, to reduce variance.

    Kingma et al. (2021), appendix I.1, https://arxiv.org/abs/2107.00630.
    """

    of: TimeDistribution = field(default_factory=Uniform)

    def quantile(self, u: Tensor, schedule: Schedule) -> Tensor:
        return self.of.quantile(u, schedule)

    def uniforms(self, count: int, generator: torch.Generator) -> Tensor:
        strata = torch.randperm(count, generator=generator, device=generator.device)
        return (strata + super().uniforms(count, generator)) / count
