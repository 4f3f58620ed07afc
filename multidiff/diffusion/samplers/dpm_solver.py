"""DPM-Solver and DPM-Solver++, for the ODE and the SDE.

Two things separate these from their usual transcriptions. The polynomial through the estimates is integrated exactly in
every order; others put a moment's small-step limit in its place, or lose a factor of two. And ``eta`` is a setting, not
another sampler: 2 or 3 estimates with ``eta = 1`` are DPM++ 2M and 3M SDE, two stages with it are DPM++ SDE.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.samplers.base import Denoise, History, Sampler, check_count
from multidiff.diffusion.samplers.exponential import Equation, combine, equation_in, exponential_weights
from multidiff.diffusion.samplers.multistep import Multistep
from multidiff.diffusion.samplers.noise_level import NoiseLevel, euler_step
from multidiff.diffusion.schedules import Schedule

STAGES = {1: (), 2: (1 / 2,), 3: (1 / 3, 2 / 3)}
"""For each order, the parts of the step in log SNR after which a single-step method evaluates again."""


def solver_weights(equation: Equation, nodes: Sequence[NoiseLevel], t: NoiseLevel, s: NoiseLevel) -> Tensor:
    """The weight in ``x_s`` of the estimate at each of ``nodes``, for the step from t to s."""
    places = torch.stack([node.log_snr for node in nodes])
    return equation.gain(s) * exponential_weights(places, t.log_snr, s.log_snr, equation.rate)


@dataclass(frozen=True)
class DPMSolverMultistep(Multistep):
    """``x_s = propagation x_t + gain sum_i w_i f_i + spread z`` through the last ``order`` estimates.

    The first steps have fewer. Lu et al. (2022), https://arxiv.org/abs/2211.01095, whose algorithm 2 puts h / 2 in
    place of a moment: that is ``UniPC(schedule, 2, corrector=False)``.

    Args:
        schedule: of the denoiser.
        order: how many estimates are interpolated.
        form: ``data`` (DPM-Solver++) or ``noise`` (DPM-Solver).
        eta: noise of the reverse process: 0 none, 1 that of the reverse SDE.
        stretch: the longest step, in lengths of the last, that goes by more than two estimates: see `Multistep`.
    """

    schedule: Schedule
    order: int = 2
    form: str = "data"
    eta: float = 0.0
    stretch: float = math.inf

    def __post_init__(self) -> None:
        check_count("order", self.order)
        equation_in(self.form, self.eta)

    @property
    def stochastic(self) -> bool:  # type: ignore[override]
        return self.eta > 0

    @property
    def weak_order(self) -> int:
        return min(self.order, 2) if self.stochastic else self.order

    @property
    def memory(self) -> int:
        return self.order

    @cached_property
    def equation(self) -> Equation:
        return equation_in(self.form, self.eta)

    def weights(self, nodes: Sequence[NoiseLevel], t: NoiseLevel, s: NoiseLevel) -> Tensor:
        return solver_weights(self.equation, nodes, t, s)


@dataclass(frozen=True)
class DPMSolverSinglestep(Sampler):
    """The multistep method's step, with estimates made within the step in place of remembered ones.

    Each stage, and the step, integrates exactly the polynomial through the stages before it, where the papers have a
    moment's limit for small steps: Lu et al. (2022), algorithms 1 and 2 of https://arxiv.org/abs/2206.00927, and
    algorithm 1 of https://arxiv.org/abs/2211.01095. The DPM-Solver-2 of the former is `Midpoint`. The weight of the
    second of three stages vanishes with the step, so that its own error costs no order.

    Args:
        schedule: of the denoiser.
        order: 1, 2 or 3, and as many evaluations a step.
        form: ``data`` (DPM-Solver++) or ``noise`` (DPM-Solver).
        eta: noise of the reverse process: 0 none, 1 that of the reverse SDE.
    """

    schedule: Schedule
    order: int = 2
    form: str = "data"
    eta: float = 0.0

    def __post_init__(self) -> None:
        check_count("order", self.order)
        if self.order not in STAGES:
            raise ValueError(f"single-step orders are {', '.join(map(str, STAGES))}; got {self.order}")
        equation_in(self.form, self.eta)

    @property
    def evaluations(self) -> int:  # type: ignore[override]
        return self.order

    @property
    def stochastic(self) -> bool:  # type: ignore[override]
        return self.eta > 0

    @property
    def weak_order(self) -> int:
        return min(self.order, 2) if self.stochastic else self.order

    def step(self, denoise: Denoise, x_t: Tensor, t: Tensor, s: Tensor, history: History, noise: NoiseSource) -> Tensor:
        equation = equation_in(self.form, self.eta)
        here, there = NoiseLevel.at(self.schedule, t), NoiseLevel.at(self.schedule, s)
        x0 = denoise(x_t, t)
        if here.is_end or there.is_end:
            return euler_step(x_t, x0, here, there)
        nodes, estimates = [here], [equation.estimate(x_t, x0, here)]
        stops = [stage_level(self.schedule, here, there, part) for part in STAGES[self.order]]
        for stop in [*stops, there]:
            weights = solver_weights(equation, nodes, here, stop)
            x = equation.propagation(here, stop) * x_t + combine(weights, estimates)
            if self.stochastic:
                x = x + equation.spread(here, stop) * noise.between(t, stop.t)
            if stop is not there:
                nodes.append(stop)
                estimates.append(equation.estimate(x, denoise(x, stop.t), stop))
        return x


def stage_level(schedule: Schedule, t: NoiseLevel, s: NoiseLevel, part: float) -> NoiseLevel:
    """The level a ``part`` of the way from t to s in log SNR."""
    return NoiseLevel.at(schedule, schedule.time(torch.lerp(t.log_snr, s.log_snr, part)))
