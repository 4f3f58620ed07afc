"""Scales that change with the noise level."""

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
    """CFG++ as a scale of ordinary guidance: ``strength alpha_s / gain``, from t to s.

    CFG++ takes the step with the unconditional estimate and adds ``strength alpha_s (cond - uncond)``, so that what is
    left of the noise is the unconditional one. Where a step multiplies its one estimate by ``gain``, guidance of this
    scale does the same. The gain of Euler's step is ``alpha_s (1 - exp(-h))``, with h the step of log SNR. Chung et al.
    (2024), algorithm 2, https://arxiv.org/abs/2406.08070; ancestral steps as in its code.

    Args:
        sampler: what samples with it: of one estimate a step, and no history.
        grid: the times that the sampler visits.
        strength: the paper's lambda, from 0 (unconditional) to 1.

    Raises:
        ValueError: a step of the sampler rests on several estimates, of which each would have a gain of its own.
    """

    sampler: Sampler
    grid: Tensor
    strength: float

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise ValueError(f"the strength of CFG++ runs from 0 to 1, got {self.strength}")
        _ = self.scales

    @cached_property
    def scales(self) -> Tensor:
        """The scale of each step, ``(n,)``."""
        times = self.grid.to("cpu", torch.float64)
        signal = self.sampler.schedule.alpha(times[1:])
        return self.strength * signal / torch.stack([gain(self.sampler, t, s) for t, s in pairwise(times)])

    def __call__(self, log_snr: Tensor) -> Tensor:
        nodes = self.sampler.schedule.log_snr(self.grid[:-1].to("cpu", torch.float64)).to(log_snr)
        distance, step = (log_snr[:, None] - nodes).abs().nan_to_num(0).min(dim=1)  # of no signal to itself, 0
        if (distance > 1e-4 * (1 + log_snr.abs())).any():
            raise ValueError("CFG++ is asked for its scale at a time that is not on the grid that it was made with")
        return self.scales.to(log_snr)[step]


def gain(sampler: Sampler, t: Tensor, s: Tensor) -> Tensor:
    """What the step from ``t`` to ``s`` multiplies its one estimate by: tried on the estimates 0 and 1.

    Raises:
        ValueError: the step makes several estimates, or leaves some to later steps.
    """
    asked, history = list[Tensor](), deque[Any]()
    estimates = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    noise = NoiseSource([0, 0], (1,), torch.float64)

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        asked.append(t)
        return estimates

    ends = sampler.step(denoise, 0 * estimates, t, s, history, noise)
    if len(asked) != 1 or history:
        raise ValueError(
            f"CFG++ is for samplers of one estimate a step and no history (Euler, DDIM, DDPM, Ancestral of Euler); "
            f"{type(sampler).__name__} has more: use ordinary guidance"
        )
    return (ends[1] - ends[0])[0]
