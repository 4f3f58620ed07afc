"""Base classes of guidance: its interval and scale, and the batching of network evaluations."""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from multidiff.diffusion.conditioning import Conditioning, concatenate
from multidiff.diffusion.denoiser import Denoiser, Wrapper

Scale = float | Callable[[Tensor], Tensor]
"""A number, or a function of log SNR, ``(B,) -> (B,)``; 1 is off, 0 ignores the condition."""

EVERYWHERE = (-math.inf, math.inf)


class Guidance(Wrapper):
    """A denoiser whose estimate is modified by other estimates, within an interval of noise levels.

    Samples outside the interval are not guided and cost no extra evaluations. Kynkaanniemi et al. (2024),
    https://arxiv.org/abs/2404.07724, whose sigma is ``exp(-log_snr)``.

    Args:
        denoiser: the denoiser to guide.
        scale: finite and at least 0, or a function of log SNR.
        interval: half-open interval ``[low, high)`` of log SNR in which guidance is active.
    """

    def __init__(self, denoiser: Denoiser, scale: Scale, *, interval: tuple[float, float] = EVERYWHERE):
        super().__init__(denoiser)
        if not callable(scale) and not 0 <= scale < math.inf:
            raise ValueError(f"guidance scale must be finite and at least 0 (1 is off), got {scale}")
        if not interval[0] < interval[1]:
            raise ValueError(f"interval must go from a lower to a higher log SNR, got {interval}")
        self.scale = scale
        self.interval = interval

    def forward(self, x_t: Tensor, t: Tensor, cond: Conditioning | None = None) -> Tensor:
        times = t.expand(len(x_t))
        log_snr = self.schedule.log_snr(times)
        scale = self.scale(log_snr) if callable(self.scale) else torch.full_like(log_snr, self.scale)
        inside = (self.interval[0] <= log_snr) & (log_snr < self.interval[1])
        rows = (inside & self.is_active(scale)).nonzero()[:, 0]
        if len(rows) == 0:
            return self.denoiser(x_t, t, cond)
        scale = scale[rows].to(x_t).reshape(-1, *[1] * (x_t.ndim - 1))
        estimate, *others = self.estimates(x_t, times, cond, rows)
        rows = rows.to(x_t.device)
        return estimate.index_copy(0, rows, self.combine(scale, estimate[rows], *others))

    def is_active(self, scale: Tensor) -> Tensor:
        """Whether guidance at this scale changes the estimate, elementwise."""
        return scale != 1

    @abstractmethod
    def estimates(self, x_t: Tensor, times: Tensor, cond: Conditioning | None, rows: Tensor) -> Sequence[Tensor]:
        """The estimate of all samples, followed by the guiding estimates of the samples at ``rows``."""

    @abstractmethod
    def combine(self, scale: Tensor, estimate: Tensor, *others: Tensor) -> Tensor:
        """The guided estimate; ``scale`` is broadcastable to the estimates."""


class ConditionGuidance(Guidance):
    """Guidance with estimates of one network under several conditions, evaluated in one batch.

    Without a condition, the denoiser is called without guidance.
    """

    def forward(self, x_t: Tensor, t: Tensor, cond: Conditioning | None = None) -> Tensor:
        return self.denoiser(x_t, t) if cond is None else super().forward(x_t, t, cond)

    def estimates(self, x_t: Tensor, times: Tensor, cond: Conditioning | None, rows: Tensor) -> Sequence[Tensor]:
        assert cond is not None
        there = rows.to(x_t.device)
        others = [other.expand(len(x_t)).select(there) for other in self.others(cond)]
        repeats = range(len(others))
        x = torch.cat([x_t, *(x_t[there] for _ in repeats)])
        t = torch.cat([times, *(times[rows] for _ in repeats)])
        return self.denoiser(x, t, concatenate(cond, *others)).split([len(x_t), *(len(rows) for _ in repeats)])

    @abstractmethod
    def others(self, cond: Conditioning) -> Sequence[Conditioning]:
        """The additional conditions, each for one sample or for as many as ``cond``."""
