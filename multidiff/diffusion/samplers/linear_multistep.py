"""Linear multistep solvers of ``d(x / alpha) / d(sigma / alpha) = noise``: LMS, DEIS and iPNDM."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import torch
from torch import Tensor

from multidiff.diffusion.samplers.base import check_order
from multidiff.diffusion.samplers.exponential import Equation, interpolation_weights, make_equation
from multidiff.diffusion.samplers.multistep import Multistep
from multidiff.diffusion.samplers.noise_level import NoiseLevel
from multidiff.diffusion.schedules import Schedule


def polynomial_weights(nodes: Tensor, start: Tensor, stop: Tensor) -> Tensor:
    """Weights that integrate the polynomial through ``nodes`` from ``start`` to ``stop``."""
    powers = torch.arange(1, len(nodes) + 1, dtype=nodes.dtype)
    return interpolation_weights(nodes - start, (stop - start) ** powers / powers)


@cache
def gauss_legendre(count: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights on [-1, 1], exact for polynomials of degree below ``2 count``: Golub and Welsch (1969)."""
    k = torch.arange(1, count, dtype=torch.float64)
    off_diagonal = k / torch.sqrt(4 * k**2 - 1)
    points, vectors = torch.linalg.eigh(torch.diag(off_diagonal, 1) + torch.diag(off_diagonal, -1))
    return points, 2 * vectors[0] ** 2


@dataclass(frozen=True)
class NoiseMultistep(Multistep):
    """``x_s / alpha_s = x_t / alpha_t + sum_i w_i noise_i`` over the last ``order`` noise estimates.

    Args:
        schedule: schedule of the denoiser.
        order: number of interpolated estimates.
    """

    schedule: Schedule
    order: int = 3

    def __post_init__(self) -> None:
        check_order("order", self.order)

    @property
    def memory(self) -> int:
        return self.order

    @cached_property
    def equation(self) -> Equation:
        return make_equation("noise")

    def weights(self, nodes: Sequence[NoiseLevel], t: NoiseLevel, s: NoiseLevel) -> Tensor:
        return s.alpha * self.quadrature(nodes, t, s)

    @abstractmethod
    def quadrature(self, nodes: Sequence[NoiseLevel], t: NoiseLevel, s: NoiseLevel) -> Tensor:
        """The weights ``w_i``, which sum to the change of ``sigma / alpha``."""


class LMS(NoiseMultistep):
    """Linear multistep: the noise is interpolated in ``sigma / alpha`` (Adams-Bashforth with variable steps).

    Hairer, Norsett and Wanner (1993), section III.5. The ``lms`` of k-diffusion, whose quadrature is
    numerical; here the polynomial is integrated exactly.
    """

    def quadrature(self, nodes: Sequence[NoiseLevel], t: NoiseLevel, s: NoiseLevel) -> Tensor:
        return polynomial_weights(torch.stack([node.ratio for node in nodes]), t.ratio, s.ratio)


class DEIS(NoiseMultistep):
    """tAB-DEIS: the noise is interpolated in time.

    Order k is the paper's tAB(k - 1). Zhang and Chen (2022), eq. 14-15, https://arxiv.org/abs/2204.13902. The moments
    over ``d(sigma / alpha)`` are integrated by parts; the remaining smooth integral uses Gauss-Legendre quadrature.
    """

    def quadrature(self, nodes: Sequence[NoiseLevel], t: NoiseLevel, s: NoiseLevel) -> Tensor:
        points, weights = gauss_legendre(12)
        h = s.t - t.t
        within = h * (points + 1) / 2
        ratio = NoiseLevel.at(self.schedule, t.t + within).ratio
        moments = [s.ratio - t.ratio]
        for k in range(1, len(nodes)):
            moments.append(h**k * s.ratio - k * h / 2 * (weights * within ** (k - 1) * ratio).sum())
        return interpolation_weights(torch.stack([node.t for node in nodes]) - t.t, torch.stack(moments))


@dataclass(frozen=True)
class IPNDM(Multistep):
    """PLMS with a low-order start: the Adams-Bashforth weights of equal steps, used for any steps.

    The order is ``estimates`` on a grid of equal steps in ``sigma / alpha``, and 2 on other grids. Liu et al. (2022),
    eq. 12, https://arxiv.org/abs/2202.09778; the start: Zhang and Chen (2022), https://arxiv.org/abs/2204.13902.

    Args:
        schedule: schedule of the denoiser.
        estimates: number of combined noise estimates; 4 in the papers.
    """

    schedule: Schedule
    estimates: int = 4

    def __post_init__(self) -> None:
        check_order("estimates", self.estimates)

    @property
    def order(self) -> int:  # type: ignore[override]
        return min(self.estimates, 2)

    @property
    def memory(self) -> int:
        return self.estimates

    @cached_property
    def equation(self) -> Equation:
        return make_equation("noise")

    def weights(self, nodes: Sequence[NoiseLevel], t: NoiseLevel, s: NoiseLevel) -> Tensor:
        ago = -torch.arange(len(nodes), dtype=torch.float64)
        equal = polynomial_weights(ago, torch.zeros_like(ago[0]), torch.ones_like(ago[0]))
        return s.alpha * (s.ratio - t.ratio) * equal
