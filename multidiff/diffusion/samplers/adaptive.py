"""A sampler with adaptive step size: the grid only sets the times that it must reach."""

from dataclasses import dataclass

import torch
from torch import Tensor

from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.samplers.base import Denoise, History, Sampler
from multidiff.diffusion.samplers.dpm_solver import STAGES
from multidiff.diffusion.samplers.exponential import combine, exponential_weights, make_equation
from multidiff.diffusion.samplers.noise_level import NoiseLevel, euler_step
from multidiff.diffusion.schedules import Schedule

SAFETY, SHRINK, GROW = 0.9, 0.2, 5.0
PROPORTIONAL, INTEGRAL = 0.4 / 3, 0.7 / 3
FIRST_STEP, MIN_STEP = 0.1, 1e-5
"""Step sizes in log SNR."""


@dataclass(frozen=True)
class Adaptive(Sampler):
    """Single-step DPM-Solver++ of order 3 with an embedded solution of order 2 that estimates the error.

    Between consecutive grid times it takes as many steps as are needed to keep the root mean square over a sample of
    ``error / (atol + rtol |x|)`` below 1. Each sample has its own step size, so the result does not depend on the
    batch. Step sizes are set by a proportional-integral controller: Hairer and Wanner (1996), section IV.2. The pair of
    solutions is DPM-Solver-23 of Lu et al. (2022), appendix C, https://arxiv.org/abs/2206.00927.

    Args:
        schedule: schedule of the denoiser.
        rtol: relative tolerance.
        atol: absolute tolerance, for data at about unit scale.

    Raises:
        FloatingPointError: in a step, if the tolerance cannot be met or an estimate is non-finite.
    """

    schedule: Schedule
    rtol: float = 0.01
    atol: float = 0.001
    evaluations = 3
    order = 3

    def __post_init__(self) -> None:
        if not (self.rtol >= 0 and self.atol > 0):
            raise ValueError(f"need rtol >= 0 and atol > 0, got {self.rtol} and {self.atol}")

    def step(self, denoise: Denoise, x_t: Tensor, t: Tensor, s: Tensor, history: History, noise: NoiseSource) -> Tensor:
        here, there = NoiseLevel.at(self.schedule, t), NoiseLevel.at(self.schedule, s)
        if here.is_end or there.is_end:
            return euler_step(x_t, denoise(x_t, t), here, there)
        x, place = x_t, here.log_snr.expand(len(x_t))
        size, before = history.pop() if history else (torch.full_like(place, FIRST_STEP), torch.ones_like(place))
        while (left := there.log_snr - place).any():
            done = left == 0
            stop = torch.where(size < left.abs() * (1 - 1e-9), place + size * left.sign(), there.log_snr)
            stop = torch.where(done, place + FIRST_STEP, stop)  # a dummy step, whose result is discarded
            low, high = self.pair(denoise, x, place, stop)
            error = self.error(x, low, high).to(place).clamp(min=1e-10)
            if not error.isfinite().all():
                raise FloatingPointError("non-finite estimate from the denoiser")
            if size[~done].min() < MIN_STEP:
                raise FloatingPointError(
                    f"rtol {self.rtol} and atol {self.atol} are below the precision of {x.dtype}; raise them"
                )
            accepted = (error <= 1) & ~done
            x = torch.where(_like(x, accepted), high, x)
            rule = SAFETY * error**-(INTEGRAL) * torch.where(accepted, before, 1.0) ** PROPORTIONAL
            size = torch.where(done, size, (stop - place).abs() * rule.clamp(SHRINK, GROW))
            before = torch.where(accepted, error, before)
            place = torch.where(accepted, stop, place)
        history.append((size, before))
        return x

    def pair(self, denoise: Denoise, x: Tensor, place: Tensor, stop: Tensor) -> tuple[Tensor, Tensor]:
        """The solutions of order 2 and 3 of one step of each sample, from log SNR ``place`` to ``stop``, ``(B,)``."""
        equation = make_equation("data")
        nodes: list[Tensor] = []
        estimates: list[Tensor] = []

        def evaluate(x_t: Tensor, at: Tensor) -> None:
            nodes.append(at)
            estimates.append(denoise(x_t, self.schedule.time(at)))

        def advance(to: Tensor) -> Tensor:
            weights = exponential_weights(torch.stack(nodes, -1), place, to)
            level = self.noise_level(x, to)
            linear = equation.propagation(self.noise_level(x, place), level) * x
            return linear + combine([level.alpha * _like(x, weight) for weight in weights.unbind(-1)], estimates)

        third, two_thirds = (torch.lerp(place, stop, part) for part in STAGES[3])
        evaluate(x, place)
        evaluate(advance(third), third)
        low = advance(stop)
        evaluate(advance(two_thirds), two_thirds)
        return low, advance(stop)

    def error(self, x: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Root mean square error of each sample in units of the tolerance, ``(B,)``."""
        tolerance = self.atol + self.rtol * torch.maximum(x.abs(), high.abs())
        return ((high - low) / tolerance).flatten(1).square().mean(1).sqrt()

    def noise_level(self, x: Tensor, log_snr: Tensor) -> NoiseLevel:
        """The noise level of each sample, broadcastable to x."""
        t = self.schedule.time(log_snr)
        return NoiseLevel(t, _like(x, self.schedule.alpha(t)), _like(x, self.schedule.sigma(t)))


def _like(x: Tensor, values: Tensor) -> Tensor:
    """One value per sample, broadcastable to x, on its device and, unless boolean, in its dtype."""
    kept = values.to(x.device) if values.dtype == torch.bool else values.to(x)
    return kept.reshape(-1, *[1] * (x.ndim - 1))
