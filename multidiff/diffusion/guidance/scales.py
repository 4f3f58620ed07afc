"""Scales that change with the noise level."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from multidiff.diffusion.schedules import Schedule


@dataclass(frozen=True)
class ScaleCurve:
    """A scale linear between points over log SNR, and constant beyond the first and the last.

    Rising scales (weak at high noise, strong at low) keep variety: Wang et al. (2024),
    https://arxiv.org/abs/2404.13040.

    Args:
        log_snr: of the points, increasing.
        scale: at each of them.
    """

    log_snr: Sequence[float]
    scale: Sequence[float]

    def __post_init__(self) -> None:
        alike = len(self.log_snr) == len(self.scale) > 0
        if not alike or not all(a < b for a, b in pairwise(self.log_snr)):
            raise ValueError(f"need increasing log SNR and a scale for each, got {self.log_snr} and {self.scale}")

    def __call__(self, log_snr: Tensor) -> Tensor:
        points, scale = log_snr.new_tensor(self.log_snr), log_snr.new_tensor(self.scale)
        if len(points) == 1:
            return scale.expand_as(log_snr)
        place = log_snr.clamp(points[0], points[-1]).contiguous()
        after = torch.searchsorted(points, place).clamp(min=1, max=len(points) - 1)
        part = (place - points[after - 1]) / (points[after] - points[after - 1])
        return torch.lerp(scale[after - 1], scale[after], part)


@dataclass(frozen=True)
class CFGPlusPlus:
    """CFG++ as the scale ``strength / (1 - exp(-h))`` of ordinary guidance, with h the step of log SNR that is taken.

    CFG++ renoises its guided x0 with the unconditional noise: ``alpha_s guided + sigma_s noise(uncond)``. Written as
    Euler's step from t to s, that is an x0 estimate of ``uncond + strength (cond - uncond) / (1 - (alpha_t / sigma_t) /
    (alpha_s / sigma_s))``: the same samples with no sampler of its own. With others than Euler's it is a scale like any
    other, which jumps from step to step and leaves them first order. Chung et al. (2024), algorithm 2,
    https://arxiv.org/abs/2406.08070.

    Args:
        schedule: of the denoiser.
        grid: the times that the sampler visits; it tells h.
        strength: the paper's lambda, from 0 (unconditional) to 1.
    """

    schedule: Schedule
    grid: Tensor
    strength: float

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise ValueError(f"the strength of CFG++ runs from 0 to 1, got {self.strength}")

    def __call__(self, log_snr: Tensor) -> Tensor:
        nodes = self.schedule.log_snr(self.grid).to(log_snr)
        rounding = 1e-9 if log_snr.dtype == torch.float64 else 1e-4
        after = torch.searchsorted(nodes, log_snr + rounding, right=True).clamp(min=1, max=len(nodes) - 1)
        return -self.strength / torch.expm1(nodes[after - 1] - nodes[after])
