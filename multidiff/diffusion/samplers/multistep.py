"""The step that all multistep methods share: they differ in the weights that they give to earlier estimates."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.samplers.base import Denoise, History, Sampler
from multidiff.diffusion.samplers.exponential import Equation, combine
from multidiff.diffusion.samplers.noise_level import NoiseLevel, euler_step

LINE = 2
"""Estimates that a line goes through."""


class Known(NamedTuple):
    """What a step leaves for later ones: its estimate, and the part of its result that no estimate can change."""

    level: NoiseLevel
    estimate: Tensor
    base: Tensor | None


class Multistep(Sampler):
    """``x_s = propagation x_t + spread z + sum_i w_i f_i`` over the newest estimates, Adams-Bashforth's way.

    With a corrector, the step into ``x_t`` is taken again once the estimate at ``x_t`` is known, Adams-Moulton's way:
    the estimate serves both, so a step costs one evaluation either way. At no signal and at no noise the step is
    Euler's, and leaves no estimate: nothing is interpolated from an infinite log SNR.

    Attributes:
        stretch: a step that is longer than this many times the last, in log SNR, goes by two estimates at most. It
            would leave the reach of a parabola through closer ones, which is worse than a line. Where a grid is
            refined, steps come to be alike, and all estimates are used.
    """

    evaluations = 1
    stretch: float = math.inf

    @property
    @abstractmethod
    def memory(self) -> int:
        """How many estimates the predictor interpolates."""

    @property
    @abstractmethod
    def equation(self) -> Equation:
        """The equation that is solved."""

    @property
    def corrector(self) -> bool:
        """Whether each step is corrected by the estimate at its end."""
        return False

    @abstractmethod
    def weights(self, nodes: Sequence[NoiseLevel], t: NoiseLevel, s: NoiseLevel) -> Sequence[Tensor] | Tensor:
        """The weight in ``x_s`` of the estimate at each of ``nodes``, newest first, for the step from t to s."""

    def step(self, denoise: Denoise, x_t: Tensor, t: Tensor, s: Tensor, history: History, noise: NoiseSource) -> Tensor:
        equation, here, there = self.equation, NoiseLevel.at(self.schedule, t), NoiseLevel.at(self.schedule, s)
        x0 = denoise(x_t, t)
        if here.is_end:
            return euler_step(x_t, x0, here, there)
        estimate = equation.estimate(x_t, x0, here)
        if history and history[0].base is not None:
            nodes, estimates = [here, *(k.level for k in history)], [estimate, *(k.estimate for k in history)]
            x_t = history[0].base + combine(self.weights(nodes, history[0].level, here), estimates)
        if there.is_end:
            return euler_step(x_t, x0, here, there)
        base = equation.propagation(here, there) * x_t
        if self.stochastic:
            base = base + equation.spread(here, there) * noise.between(t, s)
        history.appendleft(Known(here, estimate, base if self.corrector else None))
        while len(history) > self.memory or (len(history) > LINE and self.stretches(history, there)):
            history.pop()
        weights = self.weights([known.level for known in history], here, there)
        return base + combine(weights, [known.estimate for known in history])

    def stretches(self, history: History, stop: NoiseLevel) -> bool:
        """Whether the step to ``stop`` is too much longer than the one before it."""
        here, before = history[0].level, history[1].level
        return bool((stop.log_snr - here.log_snr).abs() > self.stretch * (here.log_snr - before.log_snr).abs())
