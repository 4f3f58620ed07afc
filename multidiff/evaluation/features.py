"""Features of artifacts: the contract between the metrics and a modality."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from multidiff.evaluation.reference import Reference
from multidiff.evaluation.sources import BLOCK, Source
from multidiff.sampling.processes import Processes


@dataclass(frozen=True)
class FeatureBatch:
    """Features of N artifacts.

    Attributes:
        features: ``(N, D)``.
        probabilities: of the K classes, ``(N, K)``; None where the network is no classifier.
        fingerprints: by which copies are found, ``(N, E)``; None to find them by the features.
    """

    features: Tensor
    probabilities: Tensor | None = None
    fingerprints: Tensor | None = None

    @property
    def classes(self) -> Tensor | None:
        """The most probable class of each, ``(N,)``."""
        return None if self.probabilities is None else self.probabilities.argmax(dim=1)

    @property
    def comparable(self) -> Tensor:
        """Fingerprints if there are any, otherwise features."""
        return self.features if self.fingerprints is None else self.fingerprints

    def first(self, count: int) -> "FeatureBatch":
        """The batch of the first ``count`` artifacts."""
        optional = (self.probabilities, self.fingerprints)
        return FeatureBatch(self.features[:count], *(None if part is None else part[:count] for part in optional))

    @classmethod
    def joined(cls, parts: Sequence["FeatureBatch"]) -> "FeatureBatch":
        """The concatenation of ``parts``."""
        return cls(
            torch.cat([part.features for part in parts]),
            _joined([part.probabilities for part in parts]),
            _joined([part.fingerprints for part in parts]),
        )


@dataclass(frozen=True)
class Extractor:
    """A network with frozen weights, and everything that its features depend on.

    Attributes:
        name: as in the group ``features``.
        sha256: hex hash of the weights.
        preprocessing: of an artifact before the network, in words.
        extract: from `BLOCK` artifacts to their features.
        class_names: of the classes that it predicts; empty if it is no classifier.
        facts: further facts for the protocol, such as its own accuracy.
        gaussian_width: of the kernel that its features are compared with by convention; None for their median distance.
    """

    name: str
    sha256: str
    preprocessing: str
    extract: Callable[[Sequence[Any]], FeatureBatch]
    class_names: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    gaussian_width: float | None = None


class Features(ABC):
    """Base class of the options of the config group ``features``."""

    @abstractmethod
    def extractor(self, reference: Reference, device: torch.device) -> Extractor:
        """The network, ready to use. A network that is trained on ``reference`` uses its training part only.

        Raises:
            InputError: weights are missing; the message says where to put them.
        """


def extract(
    extractor: Extractor,
    source: Source,
    processes: Processes,
    *,
    advance: Callable[[int], None] = lambda count: None,
) -> FeatureBatch | None:
    """The features of all of ``source``, on process 0; None on the others.

    Args:
        extractor: the network.
        source: of the artifacts.
        processes: that share the work.
        advance: called with the number of artifacts that all processes together have finished.
    """
    mine: dict[int, FeatureBatch] = {}
    for number in processes.share(source.blocks):
        block = source.block(number)
        mine[number] = extractor.extract(_full(block)).first(len(block))
        advance(len(block) * processes.count)
    everything = processes.gather(mine)
    if processes.rank:
        return None
    return FeatureBatch.joined([everything[number] for number in source.blocks])


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    present = [part for part in parts if part is not None]
    return torch.cat(present) if present else None


def _full(block: list[Any]) -> list[Any]:
    """The block, filled up to `BLOCK` with copies of its last artifact."""
    return block + block[-1:] * (BLOCK - len(block))
