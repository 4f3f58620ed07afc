"""The real data that samples are compared with, split as in the training of the model."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from multidiff.conditioners import Conditioner
from multidiff.data.dataset import Dataset, readable
from multidiff.data.split import split
from multidiff.errors import InputError
from multidiff.modality import Modality

FEWEST = 20
"""The smallest number of samples of which distances have standard errors."""


@dataclass(frozen=True)
class Reference:
    """Real data in two parts: the training data of the model, and held-out data that nothing was trained on.

    Samples are compared with the first; the second, compared in the same way, gives the score of real data.

    Attributes:
        modality: of the data.
        dataset: the data.
        holdout: fraction held out, as in training.
        seed: of the split, as in training.

    Raises:
        InputError: a part has fewer samples than `FEWEST`.
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
        """The part of each sample and its position there."""
        return {index: (part, place) for part in self._parts for place, index in enumerate(part)}

    @property
    def training(self) -> list[int]:
        """Indices of the training samples."""
        return self._parts[0]

    @property
    def held_out(self) -> list[int]:
        """Indices of the held-out samples."""
        return self._parts[1]

    def data(self, index: int) -> Tensor:
        """Sample ``index``, or the next of its part that can be read, ``(C, *size)``."""
        return readable(self.dataset, *self._places[index], np.random.default_rng(index))[1]

    def artifact(self, index: int) -> Any:
        """The same as an artifact."""
        return self.modality.to_artifact(self.data(index))

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The shape of an artifact of the data, as data; a sample of the data may hold more, such as distances."""
        return tuple(self.modality.to_data(self.artifact(self.training[0])).shape)

    def label(self, index: int) -> str | None:
        """The class of sample ``index``, if the data has classes."""
        labels = self.dataset.labels
        return None if labels is None else labels[index]

    def conditions(self, n: int, conditioner: Conditioner) -> list[dict[str, Any]]:
        """Fields to request for ``n`` samples, distributed as in the training data.

        Args:
            n: number of samples.
            conditioner: of the model, whose fields are returned. The choices of a field that the data lack are taken
                in turn.
        """
        order = np.random.default_rng(self.seed).permutation(self.training)
        rows = [int(order[i % len(order)]) for i in range(n)]
        fields = self.dataset.fields
        columns: dict[str, list[Any]] = {}
        for part in conditioner:
            if part.field in fields:
                columns[part.field] = [fields[part.field][row] for row in rows]
            elif part.choices:
                columns[part.field] = [part.choices[i % len(part.choices)] for i in range(n)]
        return [conditioner.quoted({name: column[i] for name, column in columns.items()}) for i in range(n)]
