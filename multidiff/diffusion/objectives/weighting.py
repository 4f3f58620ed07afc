"""Loss weightings as functions of the noise level.

The error is measured on the network output, where every prediction is well conditioned. Weightings that were published
for the error of x0 are converted with the gain of the prediction: ``|x0 error| = gain |output error|``.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor


class Weighting(ABC):
    """Weight of the squared error of the output at each noise level."""

    @abstractmethod
    def __call__(self, log_snr: Tensor, gain: Tensor) -> Tensor:
        """The weight, given ``log(alpha / sigma)`` and the prediction's gain, all ``(B,)``."""


class UniformWeighting(Weighting):
    """Weight 1: the squared error of the network output."""

    def __call__(self, log_snr: Tensor, gain: Tensor) -> Tensor:
        return torch.ones_like(gain)


@dataclass(frozen=True)
class MinSNR(Weighting):
    """``min(SNR, gamma)`` on the error of x0. Hang et al. (2023), section 3.4, https://arxiv.org/abs/2303.09556."""

    gamma: float = 5.0

    def __call__(self, log_snr: Tensor, gain: Tensor) -> Tensor:
        return torch.exp(2 * log_snr).clamp(max=self.gamma) * gain**2


@dataclass(frozen=True)
class EDMWeighting(Weighting):
    """``1 / c_out^2`` on the error of x0: unit weight for EDM's own prediction.

    Karras et al. (2022), table 1, https://arxiv.org/abs/2206.00364.
    """

    sigma_data: float = 0.5

    def __call__(self, log_snr: Tensor, gain: Tensor) -> Tensor:
        return (torch.exp(2 * log_snr) + self.sigma_data**-2) * gain**2


@dataclass(frozen=True)
class SigmoidWeighting(Weighting):
    """``sigmoid(bias - log SNR)`` on the error of the noise.

    Kingma and Gao (2023), https://arxiv.org/abs/2303.00848; Hoogeboom et al. (2024), https://arxiv.org/abs/2410.19324.
    """

    bias: float = 0.0

    def __call__(self, log_snr: Tensor, gain: Tensor) -> Tensor:
        return torch.sigmoid(self.bias - 2 * log_snr) * torch.exp(2 * log_snr) * gain**2
