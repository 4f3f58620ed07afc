"""The convolutional autoencoder, in one, two or three dimensions."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from multidiff.codecs.autoencoder import Autoencoder, Locality
from multidiff.codecs.base import Shape
from multidiff.codecs.bottleneck import Bottleneck, Latents
from multidiff.errors import InputError
from multidiff.nn.local import LocalDecoder, LocalEncoder, decoder_reach, encoder_reach


class ConvolutionalAutoencoder(Autoencoder):
    """Local convolutions down to latents, and back: every latent depends on a bounded part of the data.

    A clip in one dimension is padded at its end to a multiple of the factor; other data must be multiples of it.

    Args:
        dims: number of dimensions of the data: 1, 2 or 3.
        channels: of the data.
        bottleneck: between encoder and decoder.
        widths: channels of each stage, highest resolution first.
        strides: downsampling factor before each stage; their product is the factor.
        blocks: residual blocks of each stage of the encoder.
        decoder_blocks: those of the decoder; as many by default.
        kernel: size of the convolutions of blocks, odd.
        snake: whether activations are `Snake`, for waveforms, rather than SiLU.

    Raises:
        ValueError: the lists differ in length, or a number cannot be used.
    """

    def __init__(
        self,
        *,
        dims: int,
        channels: int,
        bottleneck: Bottleneck,
        widths: Sequence[int],
        strides: Sequence[int],
        blocks: Sequence[int],
        decoder_blocks: Sequence[int] | None = None,
        kernel: int = 3,
        snake: bool = False,
    ):
        decoded = blocks if decoder_blocks is None else decoder_blocks
        if not len(widths) == len(strides) == len(blocks) == len(decoded) > 0:
            raise ValueError(f"need one entry for each stage, got {widths=}, {strides=}, {blocks=}, {decoder_blocks=}")
        if min(strides) < 1 or kernel < 1 or kernel % 2 == 0 or min(channels, *widths) < 1:
            raise ValueError(f"need widths and strides above 0 and an odd kernel, got {widths=}, {strides=}, {kernel=}")
        shared = {"widths": widths, "strides": strides, "kernel": kernel, "snake": snake}
        super().__init__(
            LocalEncoder(dims, channels, bottleneck.inputs, blocks=blocks, **shared),  # type: ignore[arg-type]
            bottleneck,
            LocalDecoder(dims, bottleneck.channels, channels, blocks=decoded, **shared),  # type: ignore[arg-type]
        )
        self.dims, self.channels, self.factor = dims, channels, math.prod(strides)
        self.locality = Locality(
            self.factor, encoder_reach(strides, blocks, kernel), decoder_reach(strides, decoded, kernel)
        )

    @classmethod
    def settings_from(cls, config: Mapping[str, Any], data_shape: Shape) -> dict[str, Any]:
        """As many channels as the data have, where the config leaves them open."""
        return {} if config.get("channels") is not None else {"channels": data_shape[0]}

    def latents(self, data: Tensor, generator: torch.Generator | None = None) -> Latents:
        missing = -data.shape[-1] % self.factor
        return super().latents(F.pad(data, (0, missing)) if missing else data, generator)

    def shape(self, data_shape: Shape) -> Shape:
        channels, *size = data_shape
        if channels != self.channels or len(size) != self.dims:
            takes = " x ".join([str(self.channels), *("N" * self.dims)])
            raise InputError(f"the codec encodes data of {takes}, and these are {' x '.join(map(str, data_shape))}")
        if min(size) < self.factor:
            raise InputError(
                f"the codec makes one latent of {self.factor} positions along each axis, and the data are only "
                f"{' x '.join(map(str, size))}"
            )
        if self.dims > 1 and any(side % self.factor for side in size):
            raise InputError(
                f"the codec encodes sizes that are multiples of {self.factor}, and the data are "
                f"{' x '.join(map(str, size))}"
            )
        return (self.bottleneck.channels, *(-(-side // self.factor) for side in size))

    def data_shape(self, shape: Shape) -> Shape:
        _, *size = shape
        return (self.channels, *(side * self.factor for side in size))
