"""Samples that stay encoded where they are stored, and are decoded one by one when training needs them."""

import hashlib
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from torch import Tensor

from multidiff.data.dataset import Dataset, UnreadableError
from multidiff.data.decoding import Decoder
from multidiff.data.encoded_file import EncodedFile
from multidiff.errors import InputError
from multidiff.modality import Preparation

log = logging.getLogger(__name__)


class Encoded(ABC):
    """Encoded samples by number, with named fields of each.

    Attributes:
        fields: columns of N values by name, as in `Dataset.fields`.
        content: hex hash of the samples.
        shards: number of the file that each sample lies in, ``(N,)``, where reading few at a time pays; or None.
        mixed: how many such files are read at a time.
    """

    fields: Mapping[str, Sequence[Any]] = MappingProxyType({})
    content: str
    shards: np.ndarray | None = None
    mixed: int = 1

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def file(self, index: int) -> EncodedFile:
        """The file of sample ``index``, in memory.

        Raises:
            UnreadableError: this one cannot be read.
            InputError: none can be read any more.
        """

    def expect(self, index: int) -> None:  # noqa: B027  most sources have nothing to prepare
        """Prepare for sample ``index``, which will be read soon."""


class EncodedDataset(Dataset):
    """Decodes samples when they are needed; those that cannot be decoded are named once, counted, and left out.

    Args:
        source: the samples.
        preparation: from a file to data.
        max_unreadable: how many samples may be left out in a process.
    """

    def __init__(self, source: Encoded, preparation: Preparation, max_unreadable: int):
        if preparation.varies:
            raise InputError(
                "data.buckets: shards and tables hold pictures of one shape; use a folder, or leave it out"
            )
        self.source, self.preparation, self.max_unreadable = source, preparation, max_unreadable
        self.decoder = Decoder(preparation)
        self.shape, self.fields = preparation.shape, source.fields
        self.shards, self.mixed = source.shards, source.mixed
        story = f"{source.content} {self.shape} {json.dumps(dict(preparation.settings))}"
        self.content = hashlib.sha256(story.encode()).hexdigest()
        self.unreadable: set[int] = set()

    def __len__(self) -> int:
        return len(self.source)

    def data(self, index: int, random: np.random.Generator) -> Tensor:
        try:
            file = self.source.file(index)
        except UnreadableError as error:
            raise self._left_out(index, str(error)) from error
        try:
            return self.preparation.sample(self.decoder(file), random)
        except InputError as error:
            raise self._left_out(index, str(error)) from error

    def expect(self, index: int) -> None:
        self.source.expect(index)

    def _left_out(self, index: int, reason: str) -> InputError:
        if index not in self.unreadable:
            self.unreadable.add(index)
            log.warning("%s: left out, the next sample is used instead (%d so far)", reason, len(self.unreadable))
        if len(self.unreadable) > self.max_unreadable:
            return InputError(
                f"{len(self.unreadable)} samples cannot be read (last: {reason}): repair them, or set "
                "data.max_unreadable higher"
            )
        return UnreadableError(reason)
