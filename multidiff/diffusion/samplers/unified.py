"""Predictor-corrector samplers with one evaluation per step: UniPC for the ODE, SA-Solver for the SDE."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from multidiff.diffusion.samplers.base import check_order
from multidiff.diffusion.samplers.dpm_solver import solver_weights
from multidiff.diffusion.samplers.exponential import (
    Equation,
    exponential_moments,
    interpolation_weights,
    make_equation,
)
from multidiff.diffusion.samplers.multistep import LINE, Multistep
from multidiff.diffusion.samplers.noise_level import NoiseLevel
from multidiff.diffusion.schedules import Schedule


@dataclass(frozen=True)
class UniPC(Multistep):
    """UniPC: the predictor UniP-p, and the corrector UniC-p, which raises the order to p + 1 at no cost.

    With two estimates, UniPC replaces the first moment by ``B h / 2``, where ``B = h`` or ``B = exp(h) - 1``. With
    three or more, its equations have a unique solution, the exact weights, and B cancels. Zhao et al. (2023),
    algorithms 5-8, https://arxiv.org/abs/2302.04867.

    Args:
        schedule: schedule of the denoiser.
        predictor_order: p of UniPC-p: the number of estimates that the predictor interpolates.
        corrector: UniPC if true, UniP if false.
        b: ``bh1`` for ``B = h``, ``bh2`` for ``B = exp(h) - 1``.
        form: the interpolated estimate: ``data`` (x0) or ``noise``.
        stretch: largest ratio of consecutive steps that uses more than two estimates, see `Multistep`.
        eta: noise of the reverse process: 0 for the ODE, 1 for the reverse SDE. Order 2 without corrector and
            ``eta = 1`` is DPM++ 2M SDE as published, in its midpoint form.
    """

    schedule: Schedule
    predictor_order: int = 2
    corrector: bool = True
    b: str = "bh2"
    form: str = "data"
    stretch: float = math.inf
    eta: float = 0.0

    def __post_init__(self) -> None:
        check_order("predictor_order", self.predictor_order)
        if self.b not in {"bh1", "bh2"}:
            raise ValueError(f"b must be bh1 or bh2, got {self.b!r}")
        make_equation(self.form, self.eta)

    @property
    def order(self) -> int:  # type: ignore[override]
        return self.predictor_order + self.corrector

    @property
    def memory(self) -> int:
        return self.predictor_order

    @cached_property
    def equation(self) -> Equation:
        return make_equation(self.form, self.eta)

    def weights(self, nodes: Sequence[NoiseLevel], t: NoiseLevel, s: NoiseLevel) -> Tensor:
        if len(nodes) != LINE:
            return solver_weights(self.equation, nodes, t, s)
        rate, h = self.equation.rate, s.log_snr - t.log_snr
        whole = exponential_moments(1, t.log_snr, s.log_snr, rate)[0]
        b = rate * h if self.b == "bh1" else whole
        moments = torch.stack([whole, (b / 2 - whole) * h])
        places = torch.stack([node.log_snr for node in nodes]) - s.log_snr
        return self.equation.gain(s) * interpolation_weights(places, moments)


@dataclass(frozen=True)
class SASolver(Multistep):
    """SA-Solver: stochastic Adams predictor and corrector for the reverse SDE, in exponential form.

    Predictor and corrector use the same noise. Xue et al. (2023), algorithm 1, https://arxiv.org/abs/2305.14267, with a
    constant tau.

    Args:
        schedule: schedule of the denoiser.
        predictor_order: number of estimates that the predictor interpolates; the corrector uses one more.
        eta: the paper's ``tau^2``: 0 for the ODE, 1 for the reverse SDE.
        stretch: largest ratio of consecutive steps that uses more than two estimates, see `Multistep`.
    """

    schedule: Schedule
    predictor_order: int = 2
    eta: float = 1.0
    stretch: float = math.inf
    corrector = True

    def __post_init__(self) -> None:
        check_order("predictor_order", self.predictor_order)
        make_equation("data", self.eta)

    @property
    def order(self) -> int:  # type: ignore[override]
        return self.predictor_order + 1

    @property
    def memory(self) -> int:
        return self.predictor_order

    @cached_property
    def equation(self) -> Equation:
        return make_equation("data", self.eta)

    def weights(self, nodes: Sequence[NoiseLevel], t: NoiseLevel, s: NoiseLevel) -> Tensor:
        return solver_weights(self.equation, nodes, t, s)
