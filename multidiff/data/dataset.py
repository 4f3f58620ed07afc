"""What training needs of data, whatever its kind."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from torch import Tensor

from multidiff.errors import InputError


class UnreadableError(InputError):
    """A sample that cannot be read, in whose place another may be taken."""


class Dataset(ABC):
    """Clean samples, with what is known of each.

    Attributes:
        shape: ``(C, *size)`` of every sample.
        labels: class index of each sample, ``(N,)``, or None.
        label_names: name of each class.
        captions: a text for each sample, or None.
        origin: hex hash of what the samples are made from, and of how.
        modality_settings: arguments of the modality that only the data can tell, such as their statistics; they travel
            with the model.
        shards: number of the file that each sample lies in, ``(N,)``, if few of them should be read at a time; or None.
        mixed: how many such files are.
    """

    shape: tuple[int, ...]
    labels: Sequence[int] | None = None
    label_names: tuple[str, ...] = ()
    captions: Sequence[str] | None = None
    origin: str
    modality_settings: Mapping[str, Any] = MappingProxyType({})
    shards: np.ndarray | None = None
    mixed: int = 1

    @cached_property
    def content(self) -> str:
        """Hex hash of all samples and of what is known of them."""
        labels, captions = (None if known is None else list(known) for known in (self.labels, self.captions))
        story = (self.origin, tuple(self.shape), labels, tuple(self.label_names), captions)
        return hashlib.sha256(repr(story).encode()).hexdigest()

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def x0(self, index: int, random: np.random.Generator) -> Tensor:
        """Sample ``index`` as ``(C, *size)`` in float32; ``random`` decides flips and crops, if there are any.

        Raises:
            UnreadableError: training goes on with another sample.
        """

    def expect(self, index: int) -> None:  # noqa: B027  most have nothing to prepare
        """Sample ``index`` will be asked for soon."""


def readable(
    dataset: Dataset, indices: Sequence[int] | np.ndarray, place: int, random: np.random.Generator
) -> tuple[int, Tensor]:
    """Which of ``indices`` is the first from ``place`` on, around the end, that can be read, and its sample.

    Raises:
        InputError: none can be read.
    """
    for following in range(len(indices)):
        index = int(indices[(place + following) % len(indices)])
        with suppress(UnreadableError):
            return index, dataset.x0(index, random)
    raise InputError("no sample of the data can be read")
