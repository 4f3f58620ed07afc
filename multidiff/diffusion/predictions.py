"""Predictions: what a network outputs, and how the output becomes an x0 estimate.

``a`` and ``s`` are alpha and sigma, broadcastable to ``x``. All formulas hold for any pair, variance preserving or not,
and are finite at ``s = 0`` and at ``a = 0``.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor


class Prediction(ABC):
    """A linear change of variables between the output of a network and x0."""

    @abstractmethod
    def target(self, x0: Tensor, noise: Tensor, a: Tensor, s: Tensor) -> Tensor:
        """The regression target of the network for ``x_t = a x0 + s noise``."""

    @abstractmethod
    def to_x0(self, output: Tensor, x_t: Tensor, a: Tensor, s: Tensor) -> Tensor:
        """The x0 estimate that corresponds to ``output``."""

    @abstractmethod
    def gain(self, a: Tensor, s: Tensor) -> Tensor:
        """Sensitivity of the x0 estimate to the output: ``|d x0 / d output|``."""

    def scale_input(self, x_t: Tensor, a: Tensor, s: Tensor) -> Tensor:
        """``x_t`` at about unit variance for data of unit variance; the identity for variance-preserving schedules."""
        return x_t / torch.sqrt(a**2 + s**2)


class Epsilon(Prediction):
    """Predicts the noise. Ho et al. (2020), https://arxiv.org/abs/2006.11239.

    At zero signal the noise does not determine x0: the estimate is then 0, the mean of normalised data.
    """

    def target(self, x0: Tensor, noise: Tensor, a: Tensor, s: Tensor) -> Tensor:
        return noise

    def to_x0(self, output: Tensor, x_t: Tensor, a: Tensor, s: Tensor) -> Tensor:
        return torch.where(a == 0, 0.0, (x_t - s * output) / torch.where(a == 0, 1.0, a))

    def gain(self, a: Tensor, s: Tensor) -> Tensor:
        return torch.where(a == 0, 0.0, s / torch.where(a == 0, 1.0, a))


class Sample(Prediction):
    """Predicts the clean sample."""

    def target(self, x0: Tensor, noise: Tensor, a: Tensor, s: Tensor) -> Tensor:
        return x0

    def to_x0(self, output: Tensor, x_t: Tensor, a: Tensor, s: Tensor) -> Tensor:
        return output

    def gain(self, a: Tensor, s: Tensor) -> Tensor:
        return torch.ones_like(a)


class Velocity(Prediction):
    """``v = (a noise - s x0) / r`` with ``r = sqrt(a^2 + s^2)``, which is 1 for variance-preserving schedules.

    Salimans and Ho (2022), appendix D, https://arxiv.org/abs/2202.00512. The division keeps the target at unit scale
    under every schedule.
    """

    def target(self, x0: Tensor, noise: Tensor, a: Tensor, s: Tensor) -> Tensor:
        return (a * noise - s * x0) / torch.sqrt(a**2 + s**2)

    def to_x0(self, output: Tensor, x_t: Tensor, a: Tensor, s: Tensor) -> Tensor:
        return (a * x_t / torch.sqrt(a**2 + s**2) - s * output) / torch.sqrt(a**2 + s**2)

    def gain(self, a: Tensor, s: Tensor) -> Tensor:
        return s / torch.sqrt(a**2 + s**2)


class Flow(Prediction):
    """Flow matching: ``u = noise - x0``, the velocity of a straight path.

    Liu et al. (2022), https://arxiv.org/abs/2209.03003.
    """

    def target(self, x0: Tensor, noise: Tensor, a: Tensor, s: Tensor) -> Tensor:
        return noise - x0

    def to_x0(self, output: Tensor, x_t: Tensor, a: Tensor, s: Tensor) -> Tensor:
        return (x_t - s * output) / (a + s)

    def gain(self, a: Tensor, s: Tensor) -> Tensor:
        return s / (a + s)


@dataclass(frozen=True)
class EDM(Prediction):
    """EDM's preconditioning: input, output and target all have unit variance at every noise level.

    ``x0 = c_skip x_t + c_out F(c_in x_t)``. Karras et al. (2022), table 1, https://arxiv.org/abs/2206.00364, with sigma
    replaced by ``s / a`` and ``x`` by ``x_t / a``, then multiplied through by ``a``.

    Args:
        sigma_data: standard deviation of the data.
    """

    sigma_data: float = 0.5

    def target(self, x0: Tensor, noise: Tensor, a: Tensor, s: Tensor) -> Tensor:
        return (s * x0 - self.sigma_data**2 * a * noise) / (self.sigma_data * self._scale(a, s))

    def to_x0(self, output: Tensor, x_t: Tensor, a: Tensor, s: Tensor) -> Tensor:
        skip = (self.sigma_data / self._scale(a, s)) ** 2 * a
        return torch.addcmul(skip * x_t, self.gain(a, s), output)

    def gain(self, a: Tensor, s: Tensor) -> Tensor:
        return s * self.sigma_data / self._scale(a, s)

    def scale_input(self, x_t: Tensor, a: Tensor, s: Tensor) -> Tensor:
        return x_t / self._scale(a, s)

    def _scale(self, a: Tensor, s: Tensor) -> Tensor:
        """Standard deviation of ``x_t``."""
        return torch.sqrt(self.sigma_data**2 * a**2 + s**2)
