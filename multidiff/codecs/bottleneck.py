"""Bottlenecks: from what an encoder computes to latents that a diffusion model can learn."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Latents:
    """A batch of latents, and what they cost.

    Attributes:
        values: ``(B, C, *size)``.
        nats: information of each channel in nats a position, ``(C,)``; near 0 where a channel has collapsed.
        penalty: what training adds to its loss, a scalar.
    """

    values: Tensor
    nats: Tensor
    penalty: Tensor


class Bottleneck(nn.Module, ABC):
    """Between an encoder and the latents.

    Attributes:
        channels: C of the latents.
        inputs: channels that the encoder computes.
    """

    channels: int
    inputs: int

    @abstractmethod
    def forward(self, features: Tensor, generator: torch.Generator | None = None) -> Latents:
        """Latents of ``features``, ``(B, inputs, *size)``.

        Args:
            features: of the encoder.
            generator: of the noise in training; None for the latents without noise.
        """


class KL(Bottleneck):
    """A normal distribution around each latent, whose divergence from the standard normal distribution is penalised.

    Kingma and Welling (2013), https://arxiv.org/abs/1312.6114; as a bottleneck of little weight, Rombach et al. (2022),
    appendix G, https://arxiv.org/abs/2112.10752.

    Args:
        channels: of the latents.
        weight: of the divergence, in nats a latent.
    """

    def __init__(self, channels: int, weight: float = 1e-3):
        super().__init__()
        if channels < 1 or weight < 0:
            raise ValueError(f"need at least 1 channel and a weight of at least 0, got {channels} and {weight}")
        self.channels, self.inputs, self.weight = channels, 2 * channels, weight

    def forward(self, features: Tensor, generator: torch.Generator | None = None) -> Latents:
        mean, log_variance = _at_least_single(features).chunk(2, dim=1)
        log_variance = log_variance.clamp(-20.0, 10.0)
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance) / 2
        noise = 0 if generator is None else torch.exp(log_variance / 2) * _noise(mean, generator)
        nats = divergence.transpose(0, 1).flatten(1).mean(dim=1)
        return Latents(mean + noise, nats, self.weight * nats.mean())


class Bounded(Bottleneck):
    """Latents within [-1, 1], with noise of a fixed deviation in training, which the decoder learns to bear.

    The information of a channel is that of a Gaussian channel with its variance and this noise.

    Args:
        channels: of the latents.
        noise: its standard deviation, above 0.
    """

    def __init__(self, channels: int, noise: float = 0.1):
        super().__init__()
        if channels < 1 or noise <= 0:
            raise ValueError(f"need at least 1 channel and noise above 0, got {channels} and {noise}")
        self.channels = self.inputs = channels
        self.noise = noise

    def forward(self, features: Tensor, generator: torch.Generator | None = None) -> Latents:
        values = torch.tanh(_at_least_single(features))
        variance = values.transpose(0, 1).flatten(1).var(dim=1, correction=0)
        nats = torch.log1p(variance / self.noise**2) / 2
        if generator is not None:
            values = values + self.noise * _noise(values, generator)
        return Latents(values, nats, nats.new_zeros(()))


def _at_least_single(x: Tensor) -> Tensor:
    """``x`` in float32 if its precision is lower: latents in half precision may become non-finite."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)
