"""What a network sees in artifacts: the contract between the metrics and a modality."""

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
class Seen:
    """What was seen in N artifacts.

    Attributes:
        features: ``(N, D)``.
        probabilities: of the K classes, ``(N, K)``; None where the network is no classifier.
        looks: by which copies are sought, ``(N, E)``; None where it is the features.
    """

    features: Tensor
    probabilities: Tensor | None = None
    looks: Tensor | None = None

    @property
    def classes(self) -> Tensor | None:
        """The class that each was read as, ``(N,)``."""
        return None if self.probabilities is None else self.probabilities.argmax(dim=1)

    @property
    def comparable(self) -> Tensor:
        """What copies are sought by."""
        return self.features if self.looks is None else self.looks

    def first(self, count: int) -> "Seen":
        """What was seen in the first ``count``."""
        probabilities, looks = (None if part is None else part[:count] for part in (self.probabilities, self.looks))
        return Seen(self.features[:count], probabilities, looks)

    @classmethod
    def joined(cls, parts: Sequence["Seen"]) -> "Seen":
        """What was seen in one part after another."""
        return cls(
            torch.cat([part.features for part in parts]),
            _joined([part.probabilities for part in parts]),
            _joined([part.looks for part in parts]),
        )


@dataclass(frozen=True)
class Extractor:
    """A network with frozen weights, and all that must be known to repeat what it sees.

    Attributes:
        name: as in the group ``features``.
        sha256: hex hash of the weights.
        preprocessing: what happens to an artifact before the network sees it, in words.
        look: from `BLOCK` artifacts to what is seen in them.
        class_names: of the classes that it reads; empty if it is no classifier.
        facts: what else is worth telling, such as its own accuracy.
        gaussian_width: of the kernel that its features are compared with by convention; None for their median distance.
    """

    name: str
    sha256: str
    preprocessing: str
    look: Callable[[Sequence[Any]], Seen]
    class_names: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    gaussian_width: float | None = None


class Features(ABC):
    """Where features come from; the options of the group ``features`` are such."""

    @abstractmethod
    def extractor(self, reference: Reference, device: torch.device) -> Extractor:
        """The network, ready to look; one that learns from ``reference`` learns from its training part alone.

        Raises:
            InputError: weights are missing; the message says where to put them.
        """


def seen(
    extractor: Extractor,
    source: Source,
    processes: Processes,
    *,
    batch_size: int = BLOCK,
    advance: Callable[[int], None] = lambda count: None,
) -> Seen | None:
    """What ``extractor`` sees in all of ``source``, on process 0; None on the others.

    Args:
        extractor: the network.
        source: of the artifacts.
        processes: that share the work.
        batch_size: artifacts held in memory at once, in whole blocks; it changes no digit.
        advance: told how many artifacts are done, of all processes together, as they are.
    """
    mine: dict[int, Seen] = {}
    numbers, at_once = processes.share(source.blocks), max(1, batch_size // BLOCK)
    for start in range(0, len(numbers), at_once):
        artifacts = {number: source.block(number) for number in numbers[start : start + at_once]}
        for number, block in artifacts.items():
            mine[number] = extractor.look(_full(block)).first(len(block))
            advance(len(block) * processes.count)
    everything = processes.gather(mine)
    if processes.rank:
        return None
    return Seen.joined([everything[number] for number in source.blocks])


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    present = [part for part in parts if part is not None]
    return torch.cat(present) if present else None


def _full(block: list[Any]) -> list[Any]:
    """The block, filled up to `BLOCK` with copies of its last artifact."""
    return block + block[-1:] * (BLOCK - len(block))
