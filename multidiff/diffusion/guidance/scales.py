"""Guidance scales that depend on the noise level."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.samplers.base import Sampler


@dataclass(frozen=True)
class ScaleCurve:
    """A scale that is piecewise linear in log SNR, and constant beyond the first and the last point.

    Increasing scales (weak at high noise, strong at low noise) preserve diversity: Wang et al. (2024),
    https://arxiv.org/abs/2404.13040.

    Args:
        log_snr: log SNR of the points, increasing.
        scale: scale at each point.
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
    """CFG++ as a scale of classifier-free guidance: ``strength alpha_s / gain`` for the step from t to s.

    CFG++ takes the step with the unconditional estimate and adds ``strength alpha_s (cond - uncond)``: the sample is
    renoised with the unconditional noise. If a step multiplies its only estimate by ``gain``, guidance at this scale is
    equivalent. The gain of Euler's step is ``alpha_s (1 - exp(-h))``, where h is the step in log SNR. Chung et al.
    (2024), algorithm 2, https://arxiv.org/abs/2406.08070; ancestral steps as in its code.

    Args:
        sampler: the sampler, with one estimate per step and no history.
        grid: the times that the sampler visits.
        strength: the paper's lambda, from 0 (unconditional) to 1.

    Raises:
        ValueError: a step of the sampler uses several estimates, each of which would have its own gain.
    """

    sampler: Sampler
    grid: Tensor
    strength: float

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise ValueError(f"the strength of CFG++ must be from 0 to 1, got {self.strength}")
        _ = self.scales

    @cached_property
    def scales(self) -> Tensor:
        """The scale of each step, ``(n,)``."""
        times = self.grid.to("cpu", torch.float64)
        signal = self.sampler.schedule.alpha(times[1:])
        return self.strength * signal / torch.stack([gain(self.sampler, t, s) for t, s in pairwise(times)])

    def __call__(self, log_snr: Tensor) -> Tensor:
        nodes = self.sampler.schedule.log_snr(self.grid[:-1].to("cpu", torch.float64)).to(log_snr)
        distance, step = (log_snr[:, None] - nodes).abs().nan_to_num(0).min(dim=1)  # nan between equal infinities
        if (distance > 1e-4 * (1 + log_snr.abs())).any():
            raise ValueError("CFG++ was called at a time that is not on its grid")
        return self.scales.to(log_snr)[step]


def gain(sampler: Sampler, t: Tensor, s: Tensor) -> Tensor:
    """The factor of the estimate in the step from ``t`` to ``s``, measured with the estimates 0 and 1.

    Raises:
        ValueError: the step uses several estimates, or keeps some for later steps.
    """
    calls, history = list[Tensor](), deque[Any]()
    estimates = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    noise = NoiseSource([0, 0], (1,), torch.float64)

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        calls.append(t)
        return estimates

    ends = sampler.step(denoise, 0 * estimates, t, s, history, noise)
    if len(calls) != 1 or history:
        raise ValueError(
            "CFG++ needs a sampler with one estimate per step and no history (Euler, DDIM, DDPM, Ancestral of Euler), "
            f"got {type(sampler).__name__}: use another guidance rule"
        )
    return (ends[1] - ends[0])[0]
