"""Embeddings of the noise level and the condition vector."""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multidiff.nn.initialization import zero_init

LOG_SNR_LIMIT = 10.0
"""Log SNR is clamped to this magnitude, since it is infinite at the ends of the schedule."""


class FourierFeatures(nn.Module):
    """Cosine and sine features of a scalar, with geometrically spaced frequencies.

    ``(B,)`` to ``(B, features)``. Tancik et al. (2020), section 6.1, https://arxiv.org/abs/2006.10739.

    Args:
        features: number of features, even.
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


INPUTS = {"second_time": LOG_SNR_LIMIT, "guidance": 100.0}
"""Further inputs of a network, and the magnitude to which they are clamped: log SNR is infinite without noise."""

Further = Mapping[str, Tensor] | None
"""Values of the further inputs of a network by name, each ``(B,)``; None if it has none."""

FURTHER = "embedding.further."
"""Part of the names of the weights of further inputs, which are zero in the last layer at first."""


class Embedding(nn.Module):
    """One embedding of noise level and condition vector, the input of the adaptive norms of a backbone.

    An MLP on Fourier features of ``log(alpha / sigma)``, plus a linear map of the condition vector. The map has no
    bias, so the null condition, a zero vector, adds nothing. Kingma et al. (2021), section 3,
    https://arxiv.org/abs/2107.00630, with the width of ADM, https://arxiv.org/abs/2105.05233.

    Args:
        width: width of the embedding.
        vector_dim: width of the condition vector; 0 for none.
        inputs: names of further scalars, of `INPUTS`: each has an MLP like that of the noise level, zero at first.

    Raises:
        ValueError: an input has another name.
    """

    def __init__(self, width: int, vector_dim: int = 0, inputs: Sequence[str] = ()):
        super().__init__()
        self.vector_dim = vector_dim
        self.features = FourierFeatures(128, low=0.1, high=10.0)
        self.noise_in = nn.Linear(128, width)
        self.noise_out = nn.Linear(width, width)
        self.vector = nn.Linear(vector_dim, width, bias=False) if vector_dim else None
        unknown = [name for name in inputs if name not in INPUTS]
        if unknown:
            raise ValueError(f"inputs must be of {', '.join(INPUTS)}, got {unknown[0]!r}")
        self.further = nn.ModuleDict({name: Scalar(width) for name in inputs})

    def forward(self, log_snr: Tensor, vector: Tensor | None = None, further: Further = None) -> Tensor:
        """Embed.

        Args:
            log_snr: ``log(alpha / sigma)``, ``(B,)``; may be infinite.
            vector: ``(B, vector_dim)``, or None for the null condition.
            further: a value, ``(B,)``, of each of the inputs.

        Returns:
            ``(B, width)``.

        Raises:
            ValueError: a condition vector is given although ``vector_dim`` is 0, or ``further`` are not the inputs.
        """
        features = self.features(log_snr.clamp(-LOG_SNR_LIMIT, LOG_SNR_LIMIT))
        embedding = self.noise_out(F.silu(self.noise_in(features)))
        if set(further or {}) != set(self.further):
            raise ValueError(f"the inputs are {list(self.further)}, got {list(further or {})}")
        for name, embed in self.further.items():
            embedding = embedding + embed(further[name].clamp(-INPUTS[name], INPUTS[name]))  # type: ignore[index]
        if vector is None:
            return F.silu(embedding)
        if self.vector is None:
            raise ValueError("a condition vector was given to a backbone with vector_dim=0")
        return F.silu(embedding + self.vector(vector))


class Scalar(nn.Module):
    """An MLP on Fourier features of a scalar, zero at first: ``(B,)`` to ``(B, width)``."""

    def __init__(self, width: int):
        super().__init__()
        self.features = FourierFeatures(128, low=0.1, high=10.0)
        self.hidden = nn.Linear(128, width)
        self.out = zero_init(nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.silu(self.hidden(self.features(x))))
