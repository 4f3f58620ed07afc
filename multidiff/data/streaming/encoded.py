"""Samples that stay encoded where they lie, and are decoded one by one as training asks for them."""

import hashlib
import json
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from multidiff.data.dataset import Dataset, UnreadableError
from multidiff.data.named_bytes import NamedBytes
from multidiff.errors import InputError

log = logging.getLogger(__name__)


class Encoded(ABC):
    """Encoded samples by number, with what is known of each.

    Attributes:
        labels: text of the class of each sample, or None.
        label_names: the classes.
        captions: a text for each sample, or None.
        content: hex hash of what the samples are.
        shards: number of the file that each sample lies in, ``(N,)``, where reading few at a time pays; or None.
        mixed: how many such files are read at a time.
    """

    labels: Sequence[int] | np.ndarray | None = None
    label_names: tuple[str, ...] = ()
    captions: Sequence[str] | None = None
    content: str
    shards: np.ndarray | None = None
    mixed: int = 1

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def file(self, index: int) -> NamedBytes:
        """Sample ``index`` as the file that it would be."""

    def expect(self, index: int) -> None:  # noqa: B027  most have nothing to prepare
        """Sample ``index`` will be asked for soon."""


class EncodedDataset(Dataset):
    """Decodes samples as they are asked for; those that cannot be are named once, counted, and left out.

    Args:
        source: the samples.
        shape: of each as a tensor.
        preparation: all by which a sample is made of its file; JSON.
        max_unreadable: how many of them may be left out in a process.
    """

    def __init__(self, source: Encoded, shape: tuple[int, ...], preparation: Mapping[str, Any], max_unreadable: int):
        self.source, self.shape, self.max_unreadable = source, shape, max_unreadable
        self.labels, self.label_names, self.captions = source.labels, source.label_names, source.captions  # type: ignore[assignment]
        self.shards, self.mixed = source.shards, source.mixed
        self.content = hashlib.sha256(f"{source.content} {shape} {json.dumps(preparation)}".encode()).hexdigest()
        self.unreadable: set[int] = set()

    def __len__(self) -> int:
        return len(self.source)

    @abstractmethod
    def decoded(self, file: NamedBytes, random: np.random.Generator) -> Tensor:
        """The sample in ``file``; an `InputError` that names it says why there is none."""

    def x0(self, index: int, random: np.random.Generator) -> Tensor:
        file = self.source.file(index)
        try:
            return self.decoded(file, random)
        except InputError as error:
            raise self._left_out(index, str(error)) from error

    def expect(self, index: int) -> None:
        self.source.expect(index)

    def _left_out(self, index: int, reason: str) -> InputError:
        if index not in self.unreadable:
            self.unreadable.add(index)
            log.warning("%s: left out, the next sample takes its place (%d so far)", reason, len(self.unreadable))
        if len(self.unreadable) > self.max_unreadable:
            return InputError(
                f"{len(self.unreadable)} samples cannot be read, the last of them {reason}: mend them, or set "
                "data.max_unreadable higher"
            )
        return UnreadableError(reason)


def classes(labels: Iterable[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """The index of each label, ``(N,)``, into the sorted names of all; numbers are in the order of their values."""
    texts = list(labels)
    names = tuple(
        sorted(set(texts), key=lambda text: (0, int(text), "") if re.fullmatch(r"\d+", text) else (1, 0, text))
    )
    index = {name: i for i, name in enumerate(names)}
    return np.array([index[text] for text in texts], dtype=np.int32), names
