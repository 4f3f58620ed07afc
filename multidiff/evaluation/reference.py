"""The real data that samples are measured against, split as the model's training split it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from multidiff.data.dataset import Dataset, readable
from multidiff.data.split import split
from multidiff.errors import InputError
from multidiff.modality import Modality

FEWEST = 20
"""Samples of a kind below which no distance has an error bar."""


@dataclass(frozen=True)
class Reference:
    """Real data in two parts: what the model was trained on, and what neither it nor any encoder has seen.

    Samples are compared with the first; the second, compared in the same way, says what real data scores.

    Attributes:
        modality: of the data.
        dataset: the data.
        holdout: fraction held out, as in training.
        seed: of the split, as in training.

    Raises:
        InputError: a part is too small to measure with.
    """

    modality: Modality[Any]
    dataset: Dataset
    holdout: float
    seed: int

    def __post_init__(self) -> None:
        if len(self.dataset) < 2 * FEWEST:
            raise InputError(f"real data of at least {2 * FEWEST} samples is needed, and there are {len(self.dataset)}")
        if min(len(self.training), len(self.held_out)) < FEWEST:
            raise InputError(
                f"at least {FEWEST} samples to compare with and {FEWEST} held out are needed, and the data holds "
                f"{len(self.training)} and {len(self.held_out)}: give more data, or hold out more of it (--holdout)"
            )

    @cached_property
    def _parts(self) -> tuple[list[int], list[int]]:
        return split(len(self.dataset), self.holdout, self.seed, self.dataset.shards)

    @cached_property
    def _places(self) -> dict[int, tuple[list[int], int]]:
        """Of each sample, its part and its place in it."""
        return {index: (part, place) for part in self._parts for place, index in enumerate(part)}

    @property
    def training(self) -> list[int]:
        """Indices of the samples that train."""
        return self._parts[0]

    @property
    def held_out(self) -> list[int]:
        """Indices of the samples that do not."""
        return self._parts[1]

    def artifact(self, index: int) -> Any:
        """Sample ``index``, or the next of its part that can be read, as one of the model would come: rounded alike."""
        _, x0 = readable(self.dataset, *self._places[index], np.random.default_rng(index))
        return self.modality.to_artifact(x0)

    def label(self, index: int) -> str | None:
        """The class of sample ``index``, if the data has classes."""
        labels = self.dataset.labels
        return None if labels is None else self.dataset.label_names[labels[index]]

    def conditions(self, n: int, reads: str | None, vocabulary: Sequence[str]) -> list[str | None]:
        """What to ask of ``n`` samples so that they are asked for as the training data has it.

        Args:
            n: how many.
            reads: "label", "caption" or None, as `multidiff.conditioners.Conditioner` has it.
            vocabulary: the labels that the model knows, which are taken in turn where the data has none.
        """
        order = np.random.default_rng(self.seed).permutation(self.training)
        rows = [int(order[i % len(order)]) for i in range(n)]
        if reads == "label" and self.dataset.labels is None:
            return [vocabulary[i % len(vocabulary)] for i in range(n)]
        if reads == "label":
            return [self.label(i) for i in rows]
        captions = self.dataset.captions if reads == "caption" else None
        return [None if captions is None else captions[i] for i in rows]
