"""From what a backbone is told (noise level, condition vector) to the one vector that steers all its blocks."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LOG_SNR_LIMIT = 10.0
"""Noise levels beyond ``exp(-10)`` and ``exp(10)`` look alike to a network; at the ends of time they are infinite."""


class FourierFeatures(nn.Module):
    """Cosines and sines of a number at frequencies in geometric progression.

    ``(B,)`` to ``(B, features)``. Tancik et al. (2020), section 6.1, https://arxiv.org/abs/2006.10739.

    Args:
        features: even number of features.
        low: lowest angular frequency.
        high: highest angular frequency.
    """

    frequencies: Tensor

    def __init__(self, features: int, *, low: float, high: float):
        super().__init__()
        exponents = torch.linspace(math.log(low), math.log(high), features // 2)
        self.register_buffer("frequencies", torch.exp(exponents), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        angles = x[:, None] * self.frequencies
        return torch.cat([angles.cos(), angles.sin()], dim=-1)


class Embedding(nn.Module):
    """Noise level and condition vector as one vector, which is what the adaptive norms of a backbone read.

    Fourier features of half the log SNR through a perceptron, plus a linear map of the condition without bias: the zero
    vector, which is the null condition, adds nothing. The noise level as Kingma et al. (2021), section 3,
    https://arxiv.org/abs/2107.00630, in the width of ADM, https://arxiv.org/abs/2105.05233.

    Args:
        width: of the result.
        vector_dim: width of the condition vector; 0 if there is none.
    """

    def __init__(self, width: int, vector_dim: int = 0):
        super().__init__()
        self.vector_dim = vector_dim
        self.features = FourierFeatures(128, low=0.1, high=10.0)
        self.noise_in = nn.Linear(128, width)
        self.noise_out = nn.Linear(width, width)
        self.vector = nn.Linear(vector_dim, width, bias=False) if vector_dim else None

    def forward(self, log_snr: Tensor, vector: Tensor | None = None) -> Tensor:
        """Embed.

        Args:
            log_snr: ``log(alpha / sigma)``, ``(B,)``; may be infinite.
            vector: ``(B, vector_dim)``, or None for the null condition.

        Returns:
            ``(B, width)``.

        Raises:
            ValueError: a vector is given to a backbone made without one.
        """
        features = self.features(log_snr.clamp(-LOG_SNR_LIMIT, LOG_SNR_LIMIT))
        embedding = self.noise_out(F.silu(self.noise_in(features)))
        if vector is None:
            return F.silu(embedding)
        if self.vector is None:
            raise ValueError("a condition vector was given to a backbone with vector_dim=0")
        return F.silu(embedding + self.vector(vector))
