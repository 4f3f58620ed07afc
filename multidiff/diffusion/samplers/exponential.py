"""Exponential integrators: the linear part of the ODE or SDE exactly, the rest as a polynomial in log SNR.

With ``l`` for log SNR and ``eta`` for the noise of the reverse process (0: probability-flow ODE, 1: reverse SDE)::

    x_s = propagation x_t + gain integral of rate exp(rate (l - l_s)) f(l) dl + noise_std z

where f is the x0 estimate or the noise estimate. Lu et al. (2022), eq. 8-9 and appendix,
https://arxiv.org/abs/2211.01095; the SDE for any eta: Xue et al. (2023), proposition 4.2,
https://arxiv.org/abs/2305.14267, whose tau^2 is eta.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from multidiff.diffusion.samplers.noise_level import NoiseLevel, noise_estimate


def exponential_moments(count: int, start: Tensor, stop: Tensor, rate: float) -> Tensor:
    """Integrals of ``rate exp(rate u) u^k`` for ``k < count`` and ``u = l - stop``, l from ``start`` to ``stop``.

    Args:
        count: number of moments.
        start: log SNR, any shape, float64.
        stop: log SNR, same shape.
        rate: of the exponential.

    Returns:
        ``(*shape, count)``.
    """
    u = start - stop
    decay = torch.exp(rate * u)
    moments = [-torch.expm1(rate * u)]
    for k in range(1, count):
        moments.append(-(u**k) * decay - k / rate * moments[-1])
    return torch.stack(moments, dim=-1)


def interpolation_weights(nodes: Tensor, moments: Tensor) -> Tensor:
    """Quadrature weights at ``nodes`` for the measure that has the given ``moments``.

    Solves the Vandermonde system ``sum_i w_i nodes_i^k = moments_k`` with the algorithm of Bjorck and Pereyra (1970),
    which for few nodes is faster and more accurate than elimination: Golub and Van Loan (2013), algorithm 4.6.2.

    Args:
        nodes: ``(*shape, k)``, relative to the origin of the moments.
        moments: integrals of the powers 0 to ``k - 1``, ``(*shape, k)``.
    """
    alone = nodes.ndim == 1  # then Python floats: the same arithmetic, without a tensor for each result
    x, w = (v.tolist() if alone else list(v.unbind(-1)) for v in (nodes, moments))
    last = len(x) - 1
    for k in range(last):
        for i in range(last, k, -1):
            w[i] = w[i] - x[k] * w[i - 1]
    for k in range(last - 1, -1, -1):
        for i in range(k + 1, last + 1):
            w[i] = w[i] / (x[i] - x[i - k - 1])
        for i in range(k, last):
            w[i] = w[i] - w[i + 1]
    return moments.new_tensor(w) if alone else torch.stack(w, dim=-1)


def exponential_weights(nodes: Tensor, start: Tensor, stop: Tensor, rate: float = 1.0) -> Tensor:
    """Weights that integrate ``rate exp(rate (l - stop))`` times the interpolant through ``nodes``.

    Exact for polynomials of degree below the number of nodes, which gives each method its order.

    Args:
        nodes: log SNR of the known estimates, ``(*shape, k)`` in float64.
        start: log SNR at the start of the step, ``shape``.
        stop: log SNR at its end, ``shape``.
        rate: of the exponential, see ``Equation``.
    """
    moments = exponential_moments(nodes.shape[-1], start, stop, rate)
    return interpolation_weights(nodes - stop[..., None], moments)


def combine(weights: Sequence[Tensor] | Tensor, estimates: Sequence[Tensor]) -> Tensor:
    """The weighted sum of ``estimates``."""
    pairs = zip(weights, estimates, strict=True)
    weight, estimate = next(pairs)
    total = weight * estimate
    for weight, estimate in pairs:
        total = torch.addcmul(total, weight, estimate)
    return total


@dataclass(frozen=True)
class Equation(ABC):
    """The reverse process, written in terms of the estimate that is interpolated by a polynomial in log SNR."""

    eta: float = 0.0

    @property
    @abstractmethod
    def rate(self) -> float:
        """Rate of the exponential under the integral."""

    @abstractmethod
    def estimate(self, x_t: Tensor, x0: Tensor, t: NoiseLevel) -> Tensor:
        """The interpolated estimate."""

    @abstractmethod
    def propagation(self, t: NoiseLevel, s: NoiseLevel) -> Tensor:
        """Factor of ``x_t``."""

    @abstractmethod
    def gain(self, s: NoiseLevel) -> Tensor:
        """Factor of the integral."""

    @abstractmethod
    def noise_std(self, t: NoiseLevel, s: NoiseLevel) -> Tensor:
        """Standard deviation of the noise that the step adds."""


class DataEquation(Equation):
    """Interpolates x0: DPM-Solver++."""

    @property
    def rate(self) -> float:
        return 1 + self.eta

    def estimate(self, x_t: Tensor, x0: Tensor, t: NoiseLevel) -> Tensor:
        return x0

    def propagation(self, t: NoiseLevel, s: NoiseLevel) -> Tensor:
        return s.sigma / t.sigma * torch.exp(self.eta * (t.log_snr - s.log_snr))

    def gain(self, s: NoiseLevel) -> Tensor:
        return s.alpha

    def noise_std(self, t: NoiseLevel, s: NoiseLevel) -> Tensor:
        return s.sigma * torch.sqrt(-torch.expm1(2 * self.eta * (t.log_snr - s.log_snr)))


class NoiseEquation(Equation):
    """Interpolates the noise: DPM-Solver."""

    @property
    def rate(self) -> float:
        return -1.0

    def estimate(self, x_t: Tensor, x0: Tensor, t: NoiseLevel) -> Tensor:
        return noise_estimate(x_t, x0, t)

    def propagation(self, t: NoiseLevel, s: NoiseLevel) -> Tensor:
        return s.alpha / t.alpha

    def gain(self, s: NoiseLevel) -> Tensor:
        return (1 + self.eta) * s.sigma

    def noise_std(self, t: NoiseLevel, s: NoiseLevel) -> Tensor:
        return s.sigma * torch.sqrt(self.eta * torch.expm1(2 * (s.log_snr - t.log_snr)))


EQUATIONS: dict[str, type[Equation]] = {"data": DataEquation, "noise": NoiseEquation}


def make_equation(form: str, eta: float = 0.0) -> Equation:
    """The equation in the form ``data`` or ``noise``.

    Raises:
        ValueError: unknown form, or negative ``eta``.
    """
    if form not in EQUATIONS:
        raise ValueError(f"form must be {' or '.join(EQUATIONS)}, got {form!r}")
    if eta < 0:
        raise ValueError(f"eta must be at least 0 (0: ODE, 1: reverse SDE), got {eta}")
    return EQUATIONS[form](eta)
