"""What a network offers that is trained as a codec."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from multidiff.codecs.base import Shape
from multidiff.codecs.bottleneck import Bottleneck, Latents


@dataclass(frozen=True)
class Locality:
    """How far a latent and the data that it stands for reach, along every axis.

    Attributes:
        factor: positions of the data for each latent.
        encoder_reach: positions of the data, on either side of those of a latent, that the latent depends on.
        decoder_reach: latents, on either side of that of a position, that the decoded position depends on.
    """

    factor: int
    encoder_reach: int
    decoder_reach: int


class Autoencoder(nn.Module, ABC):
    """A network that encodes data in few values, and decodes them.

    It may decode into another kind of data than it encodes: an encoder of points may have a decoder of volumes.

    Args:
        encoder: from data ``(B, *data shape)`` to ``(B, bottleneck.inputs, *size)``.
        bottleneck: from there to latents ``(B, C, *size)``.
        decoder: from latents to what `decode` returns.

    Attributes:
        locality: of encoder and decoder; None where every latent depends on all of the data.
        one_by_one: whether `decode` decodes one sample after the other, so that its memory is that of one sample.
    """

    locality: Locality | None = None
    one_by_one = False

    def __init__(self, encoder: nn.Module, bottleneck: Bottleneck, decoder: nn.Module):
        super().__init__()
        self.encoder, self.bottleneck, self.decoder = encoder, bottleneck, decoder

    @classmethod
    def settings_from(cls, config: Mapping[str, Any], data_shape: Shape) -> dict[str, Any]:
        """The constructor arguments that follow from the data, for the ``config`` of an autoencoder.

        Args:
            config: of the autoencoder, with None where the data decide.
            data_shape: of the data, ``(C, *size)``.
        """
        return {}

    def latents(self, data: Tensor, generator: torch.Generator | None = None) -> Latents:
        """The latents of data and what they cost; with the noise of training if ``generator`` is given."""
        return self.bottleneck(self.encoder(data), generator)

    def encode(self, data: Tensor) -> Tensor:
        """Data ``(B, *data shape)`` to latents ``(B, C, *size)``, without noise, of any scale."""
        return self.latents(data).values

    def decode(self, latents: Tensor) -> Tensor:
        """Latents ``(B, C, *size)`` to data ``(B, *data_shape(shape))``, defined for any finite values."""
        return self.decoder(latents)

    def decoding(self, data_shape: Shape) -> "Autoencoder":
        """This network, decoding to ``data_shape``; here, itself, since the shape of latents tells that of the data."""
        return self

    @abstractmethod
    def shape(self, data_shape: Shape) -> Shape:
        """Shape of the latents of data of ``data_shape``, without the batch dimension.

        Raises:
            InputError: the network does not encode such data; the message names both shapes.
        """

    @abstractmethod
    def data_shape(self, shape: Shape) -> Shape:
        """Shape of what `decode` makes of latents of ``shape``, without the batch dimension."""
