"""The codec contract, and the codec that changes nothing."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

Shape = tuple[int, ...]
"""Of one sample, ``(C, *size)``."""

MOST, LARGEST = 64, 5_000_000
"""Samples that are computed at once, and the numbers in their x0 or their data: six pictures of 512x512 pixels, one of
1024x1024. Both are the same on every machine, since rounding depends on them."""


def at_once(numbers: int) -> int:
    """Samples of so many numbers to compute at once: as many as `MOST` and `LARGEST` allow, at least 1."""
    return min(MOST, max(1, LARGEST // numbers))


class Codec(nn.Module, ABC):
    """Between data and x0, the space of the network, in batches.

    ``decode(encode(data))`` is the data, up to what the codec loses and to padding at the end of the last axis. A codec
    never trains together with the denoiser.

    Attributes:
        edge: positions at either end of the last axis of x0 that differ from those inside, because they depend on
            what lies beyond the end. Extending a sample leaves them out.
        period: alignment of windows along the last axis of x0, in positions: a window that starts at a multiple of it
            encodes the same data in the same way.
        lossy: whether decoded data differ from what was encoded so much that an edit puts back what it keeps.
        views: encoded versions of each sample that training keeps in the cache, each with its own augmentation; 0
            encodes each batch when it is loaded.
    """

    edge: int = 0
    period: int = 1
    lossy: bool = False
    views: int = 0

    @property
    def identity(self) -> Mapping[str, Any]:
        """Plain values that tell these latents from those of other codecs, in the cache."""
        return {}

    @classmethod
    def settings_from(cls, config: Mapping[str, Any], data: Sequence[Tensor]) -> dict[str, Any]:
        """The constructor arguments that only the data can tell, such as statistics, for the ``config`` of a codec.

        Args:
            config: of the codec, with None where the data decide.
            data: samples, ``(C, *size)`` each.
        """
        return {}

    def require(self, modality: Mapping[str, Any]) -> None:
        """Refuse data of a modality that the codec was not made for.

        Args:
            modality: its config.

        Raises:
            InputError: it differs; the message names both.
        """

    @abstractmethod
    def encode(self, data: Tensor) -> Tensor:
        """Data ``(B, *data shape)`` to x0 ``(B, C, *size)``, at about unit scale."""

    @abstractmethod
    def decode(self, x0: Tensor) -> Tensor:
        """The inverse of `encode`, defined for any finite values."""

    @abstractmethod
    def shape(self, data_shape: Shape) -> Shape:
        """Shape of x0 for data of ``data_shape``, without the batch dimension."""

    @abstractmethod
    def data_shape(self, shape: Shape) -> Shape:
        """Shape of what `decode` makes of x0 of ``shape``, without the batch dimension."""

    def at_once(self, shape: Shape) -> int:
        """Samples with x0 of ``shape`` to generate at once."""
        return self.decoded_at_once(shape)

    def decoded_at_once(self, shape: Shape) -> int:
        """Samples with x0 of ``shape`` to decode at once."""
        return at_once(max(math.prod(shape), math.prod(self.data_shape(shape))))

    def decoding(self, data_shape: Shape) -> "Codec":
        """This codec, decoding to ``data_shape``; here, itself, since the shape of x0 tells that of the data."""
        return self

    @abstractmethod
    def region(self, mask: Tensor) -> Tensor:
        """The part of x0 that depends on the data where ``mask`` is true.

        Args:
            mask: booleans, ``(*data shape)``.

        Returns:
            Booleans in the shape of x0.
        """


class Identity(Codec):
    """The network sees the data themselves."""

    def encode(self, data: Tensor) -> Tensor:
        return data

    def decode(self, x0: Tensor) -> Tensor:
        return x0

    def shape(self, data_shape: Shape) -> Shape:
        return data_shape

    def data_shape(self, shape: Shape) -> Shape:
        return shape

    def region(self, mask: Tensor) -> Tensor:
        return mask
