"""The training loss: which times are drawn, how much each counts, and what is compared.

The error is measured on the network's output, where every prediction is well conditioned. A weighting published for the
error of x0 is carried over by the prediction's gain: ``|x0 error| = gain |output error|``.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import NetworkDenoiser, levels
from multidiff.diffusion.schedules import Schedule

_MARGIN = 1e-5
"""Times are drawn from [margin, 1 - margin]: at the very ends one of x0 and noise is invisible."""


class TimeDistribution(ABC):
    """How often training visits each time."""

    @abstractmethod
    def quantile(self, u: Tensor, schedule: Schedule) -> Tensor:
        """The inverse of the distribution function: ``u`` in (0, 1) to times."""

    def uniforms(self, count: int, generator: torch.Generator) -> Tensor:
        """``count`` uniform numbers that become times."""
        return torch.rand(count, generator=generator, device=generator.device, dtype=torch.float32)

    def sample(self, schedule: Schedule, count: int, generator: torch.Generator) -> Tensor:
        """``count`` times on the generator's device, ``(count,)`` in float32."""
        u = self.uniforms(count, generator).clamp(1e-6, 1 - 1e-6)
        return self.quantile(u, schedule).clamp(_MARGIN, 1 - _MARGIN)


class Uniform(TimeDistribution):
    """All times equally often."""

    def quantile(self, u: Tensor, schedule: Schedule) -> Tensor:
        return u


@dataclass(frozen=True)
class LogitNormal(TimeDistribution):
    """Times whose logit is normal: the middle often, the ends seldom.

    Esser et al. (2024), section 3.1, https://arxiv.org/abs/2403.03206.
    """

    mean: float = 0.0
    std: float = 1.0

    def quantile(self, u: Tensor, schedule: Schedule) -> Tensor:
        return torch.sigmoid(self.mean + self.std * torch.special.ndtri(u))


@dataclass(frozen=True)
class LogNormalSigma(TimeDistribution):
    """Times at which the noise level ``sigma / alpha`` is log-normal.

    Karras et al. (2022), table 1, https://arxiv.org/abs/2206.00364.
    """

    mean: float = -1.2
    std: float = 1.2

    def quantile(self, u: Tensor, schedule: Schedule) -> Tensor:
        return schedule.time(-(self.mean + self.std * torch.special.ndtri(u)))


@dataclass(frozen=True)
class Stratified(TimeDistribution):
    """One draw from each of B equally probable strata, in random order: the same distribution, a steadier loss.

    Kingma et al. (2021), appendix I.1, https://arxiv.org/abs/2107.00630.
    """

    of: TimeDistribution = field(default_factory=Uniform)

    def quantile(self, u: Tensor, schedule: Schedule) -> Tensor:
        return self.of.quantile(u, schedule)

    def uniforms(self, count: int, generator: torch.Generator) -> Tensor:
        strata = torch.randperm(count, generator=generator, device=generator.device)
        return (strata + super().uniforms(count, generator)) / count


class Weighting(ABC):
    """How much the squared error of the output counts at each noise level."""

    @abstractmethod
    def __call__(self, log_snr: Tensor, gain: Tensor) -> Tensor:
        """The weight, given ``log(alpha / sigma)`` and the prediction's gain, all ``(B,)``."""


class UniformWeighting(Weighting):
    """The plain squared error of what the network predicts."""

    def __call__(self, log_snr: Tensor, gain: Tensor) -> Tensor:
        return torch.ones_like(gain)


@dataclass(frozen=True)
class MinSNR(Weighting):
    """``min(SNR, gamma)`` on the error of x0. Hang et al. (2023), section 3.4, https://arxiv.org/abs/2303.09556."""

    gamma: float = 5.0

    def __call__(self, log_snr: Tensor, gain: Tensor) -> Tensor:
        return torch.exp(2 * log_snr).clamp(max=self.gamma) * gain**2


@dataclass(frozen=True)
class EDMWeighting(Weighting):
    """``1 / c_out^2`` on the error of x0: unit weight for EDM's own prediction.

    Karras et al. (2022), table 1, https://arxiv.org/abs/2206.00364.
    """

    sigma_data: float = 0.5

    def __call__(self, log_snr: Tensor, gain: Tensor) -> Tensor:
        return (torch.exp(2 * log_snr) + self.sigma_data**-2) * gain**2


@dataclass(frozen=True)
class SigmoidWeighting(Weighting):
    """``sigmoid(bias - log SNR)`` on the error of the noise.

    Kingma and Gao (2023), https://arxiv.org/abs/2303.00848; Hoogeboom et al. (2024), https://arxiv.org/abs/2410.19324.
    """

    bias: float = 0.0

    def __call__(self, log_snr: Tensor, gain: Tensor) -> Tensor:
        return torch.sigmoid(self.bias - 2 * log_snr) * torch.exp(2 * log_snr) * gain**2


@dataclass(frozen=True)
class DiffusionLoss:
    """Weighted squared error of the network's output at random times."""

    times: TimeDistribution
    weighting: Weighting

    def __call__(
        self, denoiser: NetworkDenoiser, x0: Tensor, cond: Conditioning | None, generator: torch.Generator
    ) -> Tensor:
        """The loss of each sample, ``(B,)``, with times and noise from ``generator`` (on the device of ``x0``)."""
        t = self.times.sample(denoiser.schedule, len(x0), generator)
        noise = torch.randn(x0.shape, generator=generator, device=x0.device, dtype=x0.dtype)
        return self.at(denoiser, x0, noise, t, cond)

    def at(self, denoiser: NetworkDenoiser, x0: Tensor, noise: Tensor, t: Tensor, cond: Conditioning | None) -> Tensor:
        """The loss of each sample at times ``t``, ``(B,)``, for the given ``noise``."""
        a, s = levels(denoiser.schedule, t, x0)
        output = denoiser.output(a * x0 + s * noise, t, cond)
        error = output - denoiser.prediction.target(x0, noise, a, s)
        gain = denoiser.prediction.gain(a, s).flatten()
        return self.weighting(denoiser.schedule.log_snr(t), gain) * error.square().flatten(1).mean(1)
