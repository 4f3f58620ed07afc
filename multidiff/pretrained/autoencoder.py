"""Learned autoencoders of diffusers as codecs."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multidiff.codecs import Codec
from multidiff.codecs.base import Shape
from multidiff.errors import InputError
from multidiff.pretrained.tiled import TILE, decoded, encoded, is_tiled

log = logging.getLogger(__name__)

HALVES = (torch.float16, torch.bfloat16)


class AutoencoderCodec(Codec):
    """`AutoencoderKL` or `AutoencoderTiny` of diffusers: pictures in [-1, 1] to scaled latents.

    Encoding takes the mean of the posterior, so that it is deterministic. Large pictures go in tiles, with the result
    of the whole. Where half precision overflows, the autoencoder is computed in float32 from then on, and says so once.

    Args:
        network: the autoencoder.
        patch: positions of latents, along each axis, that the denoiser reads as one.
        tile: latents along each axis that are encoded and decoded at once.

    Attributes:
        sha256: of the pipeline, where its latents are kept in the cache.
    """

    edge = 2

    def __init__(self, network: Any, patch: int = 1, tile: int = TILE):
        super().__init__()
        self.network: Any = network.requires_grad_(False)
        config = network.config
        self.channels = int(config.latent_channels)
        self.data_channels = int(config.out_channels)
        blocks = getattr(config, "block_out_channels", None) or config.decoder_block_out_channels
        self.factor = 2 ** (len(blocks) - 1)
        self.patch, self.tile = patch, tile
        self.tiled = is_tiled(network)
        self.sha256: str | None = None
        self.scale, self.shift = float(config.scaling_factor), float(getattr(config, "shift_factor", None) or 0.0)

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"pretrained": self.sha256, "views": self.views}

    def encode(self, data: Tensor) -> Tensor:
        return (self._each(self._mean, data, self.tile * self.factor) - self.shift) * self.scale

    def decode(self, x0: Tensor) -> Tensor:
        return self._each(self._picture, x0 / self.scale + self.shift, self.tile)

    def shape(self, data_shape: Shape) -> Shape:
        channels, *size = data_shape
        multiple = self.factor * self.patch
        if channels != self.data_channels or any(side < 1 or side % multiple for side in size):
            raise InputError(
                f"this model generates pictures of {self.data_channels} channels whose sides are multiples of "
                f"{multiple}, and {' x '.join(map(str, data_shape))} was requested"
            )
        return (self.channels, *(side // self.factor for side in size))

    def data_shape(self, shape: Shape) -> Shape:
        return (self.data_channels, *(side * self.factor for side in shape[1:]))

    def region(self, mask: Tensor) -> Tensor:
        wide = F.max_pool2d(mask.any(dim=0)[None, None].float(), self.factor)[0, 0] > 0
        return wide.expand(self.channels, *wide.shape)

    def _each(self, function: Callable[[Tensor], Tensor], x: Tensor, largest: int) -> Tensor:
        """``function(x)`` in the range of the network; sample by sample, if a side is above ``largest``."""
        parts = x.split(1) if max(x.shape[2:]) > largest else [x]
        return torch.cat([in_range(self.network, function, part) for part in parts])

    def _mean(self, data: Tensor) -> Tensor:
        if self.tiled and max(data.shape[2:]) > self.tile * self.factor:
            found = encoded(self.network, data, self.tile)
            return found[:, : self.channels]
        made = self.network.encode(data)
        return made.latents if hasattr(made, "latents") else made.latent_dist.mode()

    def _picture(self, latents: Tensor) -> Tensor:
        if self.tiled and max(latents.shape[2:]) > self.tile:
            return decoded(self.network, latents, self.tile)
        return self.network.decode(latents).sample


def in_range(network: nn.Module, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``function(x)`` in the precision of the network, which becomes float32 where that overflows."""
    dtype = next(network.parameters()).dtype
    y = function(x.to(dtype))
    if dtype in HALVES and not torch.isfinite(y).all():
        log.warning("the autoencoder overflows in %s: it is computed in float32 from now on", str(dtype)[6:])
        network.to(torch.float32)
        y = function(x.to(torch.float32))
    return y.to(x.dtype)
