"""The step shared by all multistep methods, which differ only in the weights of the past estimates."""

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
"""Number of estimates that a line is determined by."""


class PastStep(NamedTuple):
    """History record of a step: its estimate, and the part of its result that does not depend on estimates."""

    level: NoiseLevel
    estimate: Tensor
    base: Tensor | None


class Multistep(Sampler):
    """``x_s = propagation x_t + noise_std z + sum_i w_i f_i`` over the latest estimates, as in Adams-Bashforth methods.

    With a corrector, the step into ``x_t`` is repeated once the estimate at ``x_t`` is known, as in Adams-Moulton
    methods. The same estimate serves both, so a step costs one evaluation with and without corrector. At zero signal
    and at zero noise, log SNR is infinite and cannot be interpolated: the step is Euler's and leaves no record.

    Attributes:
        eta: noise of the reverse process: 0 for the ODE, 1 for the reverse SDE.
        stretch: a step more than this many times as long as the last, in log SNR, uses at most two estimates: a
            parabola through closely spaced estimates extrapolates worse than a line. On refined grids, consecutive
            steps have similar lengths and all estimates are used.
    """

    evaluations = 1
    eta: float = 0.0
    stretch: float = math.inf

    @property
    def stochastic(self) -> bool:  # type: ignore[override]
        return self.eta > 0

    @property
    def weak_order(self) -> int:
        return min(self.order, 2) if self.stochastic else self.order

    @property
    @abstractmethod
    def memory(self) -> int:
        """Number of estimates that the predictor interpolates."""

    @property
    @abstractmethod
    def equation(self) -> Equation:
        """The form of the reverse process that is solved."""

    @property
    def corrector(self) -> bool:
        """Whether each step is corrected with the estimate at its end."""
        return False

    @abstractmethod
    def weights(self, nodes: Sequence[NoiseLevel], t: NoiseLevel, s: NoiseLevel) -> Sequence[Tensor] | Tensor:
        """The weight in ``x_s`` of the estimate at each node, newest first, for the step from t to s."""

    def step(self, denoise: Denoise, x_t: Tensor, t: Tensor, s: Tensor, history: History, noise: NoiseSource) -> Tensor:
        equation, here, there = self.equation, NoiseLevel.at(self.schedule, t), NoiseLevel.at(self.schedule, s)
        x0 = denoise(x_t, t)
        if here.is_end:
            return euler_step(x_t, x0, here, there)
        estimate = equation.estimate(x_t, x0, here)
        if history and history[0].base is not None:
            nodes = [here, *(past.level for past in history)]
            estimates = [estimate, *(past.estimate for past in history)]
            x_t = history[0].base + combine(self.weights(nodes, history[0].level, here), estimates)
        if there.is_end:
            return euler_step(x_t, x0, here, there)
        base = equation.propagation(here, there) * x_t
        if self.stochastic:
            base = base + equation.noise_std(here, there) * noise.between(t, s)
        history.appendleft(PastStep(here, estimate, base if self.corrector else None))
        while len(history) > self.memory or (len(history) > LINE and self.exceeds_stretch(history, there)):
            history.pop()
        weights = self.weights([past.level for past in history], here, there)
        return base + combine(weights, [past.estimate for past in history])

    def exceeds_stretch(self, history: History, stop: NoiseLevel) -> bool:
        """Whether the step to ``stop`` is more than ``stretch`` times as long as the last."""
        here, before = history[0].level, history[1].level
        return bool((stop.log_snr - here.log_snr).abs() > self.stretch * (here.log_snr - before.log_snr).abs())
