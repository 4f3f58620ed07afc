"""DPM-Solver and DPM-Solver++, for the ODE and the SDE.

They differ from common implementations in two ways. The polynomial through the estimates is integrated exactly at every
order; other implementations use the small-step limit of a moment, or lose a factor of two. And the SDE is a setting,
``eta``, rather than a separate sampler: multistep with order 2 or 3 and ``eta = 1`` is DPM++ 2M SDE or 3M SDE, and
single-step with order 2 and ``eta = 1`` is DPM++ SDE.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.samplers.base import Denoise, History, Sampler, check_count, check_order
from multidiff.diffusion.samplers.exponential import Equation, combine, exponential_weights, make_equation
from multidiff.diffusion.samplers.multistep import Multistep
from multidiff.diffusion.samplers.noise_level import NoiseLevel, euler_step
from multidiff.diffusion.schedules import Schedule

STAGES = {1: (), 2: (1 / 2,), 3: (1 / 3, 2 / 3)}
"""For each order, the fractions of a step, in log SNR, at which a single-step method evaluates again."""


def solver_weights(equation: Equation, nodes: Sequence[NoiseLevel], t: NoiseLevel, s: NoiseLevel) -> Tensor:
    """The weight in ``x_s`` of the estimate at each node, for the step from t to s."""
    places = torch.stack([node.log_snr for node in nodes])
    return equation.gain(s) * exponential_weights(places, t.log_snr, s.log_snr, equation.rate)


@dataclass(frozen=True)
class DPMSolverMultistep(Multistep):
    """Multistep DPM-Solver++: ``x_s = propagation x_t + gain sum_i w_i f_i + noise_std z``.

    The sum is over the last ``order`` estimates. The first steps use fewer estimates. Lu et al. (2022),
    https://arxiv.org/abs/2211.01095, whose algorithm 2 replaces a moment by h / 2; that variant is
    ``UniPC(schedule, 2, corrector=False)``.

    Args:
        schedule: schedule of the denoiser.
        order: number of interpolated estimates.
        form: ``data`` (DPM-Solver++) or ``noise`` (DPM-Solver).
        eta: noise of the reverse process: 0 for the ODE, 1 for the reverse SDE.
        stretch: largest ratio of consecutive steps that uses more than two estimates, see `Multistep`.
    """

    schedule: Schedule
    order: int = 2
    form: str = "data"
    eta: float = 0.0
    stretch: float = math.inf

    def __post_init__(self) -> None:
        check_order("order", self.order)
        make_equation(self.form, self.eta)

    @property
    def memory(self) -> int:
        return self.order

    @cached_property
    def equation(self) -> Equation:
        return make_equation(self.form, self.eta)

    def weights(self, nodes: Sequence[NoiseLevel], t: NoiseLevel, s: NoiseLevel) -> Tensor:
        return solver_weights(self.equation, nodes, t, s)


@dataclass(frozen=True)
class DPMSolverSinglestep(Sampler):
    """Single-step DPM-Solver++: like the multistep method, with intermediate stages in place of past estimates.

    Each stage, and the step, integrates exactly the polynomial through the previous stages, where the papers use the
    small-step limit of a moment: Lu et al. (2022), algorithms 1 and 2 of https://arxiv.org/abs/2206.00927, and
    algorithm 1 of https://arxiv.org/abs/2211.01095. The DPM-Solver-2 of the first paper is `Midpoint`. The weight of
    the second of three stages vanishes with the step size, so its own error does not reduce the order.

    Args:
        schedule: schedule of the denoiser.
        order: 1, 2 or 3; also the number of evaluations per step.
        form: ``data`` (DPM-Solver++) or ``noise`` (DPM-Solver).
        eta: noise of the reverse process: 0 for the ODE, 1 for the reverse SDE.
    """

    schedule: Schedule
    order: int = 2
    form: str = "data"
    eta: float = 0.0

    def __post_init__(self) -> None:
        check_count("order", self.order)
        if self.order not in STAGES:
            raise ValueError(f"single-step samplers have order {', '.join(map(str, STAGES))}, got {self.order}")
        make_equation(self.form, self.eta)

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
        equation = make_equation(self.form, self.eta)
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
                x = x + equation.noise_std(here, stop) * noise.between(t, stop.t)
            if stop is not there:
                nodes.append(stop)
                estimates.append(equation.estimate(x, denoise(x, stop.t), stop))
        return x


def stage_level(schedule: Schedule, t: NoiseLevel, s: NoiseLevel, part: float) -> NoiseLevel:
    """The noise level at a fraction ``part`` of the way from t to s in log SNR."""
    return NoiseLevel.at(schedule, schedule.time(torch.lerp(t.log_snr, s.log_snr, part)))
