"""Predictor and corrector in one evaluation: UniPC for the ODE, SA-Solver for the SDE."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from multidiff.diffusion.samplers.base import check_count
from multidiff.diffusion.samplers.dpm_solver import solver_weights
from multidiff.diffusion.samplers.exponential import (
    Equation,
    equation_in,
    exponential_moments,
    interpolation_weights,
)
from multidiff.diffusion.samplers.multistep import LINE, Multistep
from multidiff.diffusion.samplers.noise_level import NoiseLevel
from multidiff.diffusion.schedules import Schedule


@dataclass(frozen=True)
class UniPC(Multistep):
    """UniP-p, and UniC-p that raises its order to p + 1 at no cost.

    Through a line UniPC puts ``B h / 2`` in place of the first moment, with ``B = h`` or ``B = exp(h) - 1``; through
    three and more estimates its equations have one solution, the exact weights, and B cancels.
    Zhao et al. (2023), algorithms 5-8, https://arxiv.org/abs/2302.04867.

    Args:
        schedule: of the denoiser.
        predictor_order: the p of UniPC-p: how many estimates the predictor interpolates.
        corrector: UniPC with it, UniP without.
        b: ``bh1`` for ``B = h``, ``bh2`` for ``B = exp(h) - 1``.
        form: ``data`` or ``noise``, whichever estimate is interpolated.
        stretch: the longest step, in lengths of the last, that goes by more than two estimates: see `Multistep`.
    """

    schedule: Schedule
    predictor_order: int = 2
    corrector: bool = True
    b: str = "bh2"
    form: str = "data"
    stretch: float = math.inf

    def __post_init__(self) -> None:
        check_count("predictor_order", self.predictor_order)
        if self.b not in {"bh1", "bh2"}:
            raise ValueError(f"b is bh1 or bh2, got {self.b!r}")
        equation_in(self.form)

    @property
    def order(self) -> int:  # type: ignore[override]
        return self.predictor_order + self.corrector

    @property
    def memory(self) -> int:
        return self.predictor_order

    @cached_property
    def equation(self) -> Equation:
        return equation_in(self.form)

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
    """Stochastic Adams: exponential predictor and corrector of the reverse SDE.

    Both use the same noise. Xue et al. (2023), algorithm 1, https://arxiv.org/abs/2305.14267, with a constant tau.

    Args:
        schedule: of the denoiser.
        predictor_order: how many estimates the predictor interpolates; the corrector has one more.
        eta: the paper's ``tau^2``: 0 is the ODE, 1 the reverse SDE.
        stretch: the longest step, in lengths of the last, that goes by more than two estimates: see `Multistep`.
    """

    schedule: Schedule
    predictor_order: int = 2
    eta: float = 1.0
    stretch: float = math.inf
    corrector = True

    def __post_init__(self) -> None:
        check_count("predictor_order", self.predictor_order)
        equation_in("data", self.eta)

    @property
    def stochastic(self) -> bool:  # type: ignore[override]
        return self.eta > 0

    @property
    def order(self) -> int:  # type: ignore[override]
        return self.predictor_order + 1

    @property
    def weak_order(self) -> int:
        return min(self.order, 2) if self.stochastic else self.order

    @property
    def memory(self) -> int:
        return self.predictor_order

    @cached_property
    def equation(self) -> Equation:
        return equation_in("data", self.eta)

    def weights(self, nodes: Sequence[NoiseLevel], t: NoiseLevel, s: NoiseLevel) -> Tensor:
        return solver_weights(self.equation, nodes, t, s)
