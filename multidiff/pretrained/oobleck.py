"""The autoencoder of Stable Audio as a codec of sounds."""

import math
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from multidiff.codecs import Codec
from multidiff.codecs.base import Shape
from multidiff.codecs.tiles import in_tiles, up_to_multiple
from multidiff.errors import InputError
from multidiff.pretrained.autoencoder import in_range

TILE = 256
"""Latents that are encoded and decoded at once: 12 s of Stable Audio Open."""

UNIT_REACH = 3 * (1 + 3 + 9)
"""Positions on either side that three residual units read: kernels of 7, at dilations 1, 3 and 9."""


class OobleckCodec(Codec):
    """`AutoencoderOobleck` of diffusers: sounds, full scale at -1 and 1, to latents.

    Encoding takes the mean of the posterior, so that it is deterministic. Both directions go in tiles, which give the
    result of the whole: the layers are local. Where half precision overflows, it is computed in float32 from then on.

    Raises:
        InputError: a ratio of the autoencoder is odd, so that it does not decode to the length that it encoded.
    """

    edge = 2
    lossy = True

    def __init__(self, network: Any):
        super().__init__()
        self.network: Any = network.requires_grad_(False)
        config = network.config
        self.ratios = tuple(config.downsampling_ratios)
        if any(ratio % 2 for ratio in self.ratios):
            raise InputError(f"downsampling_ratios of the autoencoder are even numbers, got {list(self.ratios)}")
        self.channels, self.audio_channels = int(config.decoder_input_channels), int(config.audio_channels)
        self.hop, self.sample_rate = math.prod(self.ratios), int(config.sampling_rate)

    @property
    def reach(self) -> tuple[int, int]:
        """Positions on either side of its input that encoder and decoder read: samples, and latents."""
        samples, latents, step = 3.0, 3.0 + 3 / self.hop, 1
        for ratio in self.ratios:
            samples += (UNIT_REACH + 2 * ratio) * step
            latents += UNIT_REACH * step / self.hop + step * ratio / self.hop
            step *= ratio
        return up_to_multiple(math.ceil(samples) + 3 * self.hop, self.hop), math.ceil(latents) + 1

    def encode(self, data: Tensor) -> Tensor:
        padded = F.pad(data, (0, -data.shape[-1] % self.hop))
        return in_tiles(self._mean, padded, TILE * self.hop, self.reach[0], self.hop, shrinks=True)

    def decode(self, x0: Tensor) -> Tensor:
        return in_tiles(self._sound, x0, TILE, self.reach[1], self.hop, shrinks=False)

    def shape(self, data_shape: Shape) -> Shape:
        channels, samples = data_shape
        if channels != self.audio_channels:
            raise InputError(f"this model generates sounds of {self.audio_channels} channels, not {channels}")
        return self.channels, -(-samples // self.hop)

    def data_shape(self, shape: Shape) -> Shape:
        return self.audio_channels, shape[-1] * self.hop

    def region(self, mask: Tensor) -> Tensor:
        any_channel = F.pad(mask.any(dim=0, keepdim=True).float(), (0, -mask.shape[-1] % self.hop))
        return F.max_pool1d(any_channel, self.hop).bool().expand(self.channels, -1)

    def _mean(self, data: Tensor) -> Tensor:
        return in_range(self.network, lambda x: self.network.encode(x).latent_dist.mode(), data)

    def _sound(self, latents: Tensor) -> Tensor:
        return in_range(self.network, lambda z: self.network.decode(z).sample, latents)
