"""One of a fixed set of classes."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from multidiff.conditioners.base import FieldConditioner, extended, is_unknown
from multidiff.diffusion.conditioning import Conditioning
from multidiff.errors import InputError, few_of


class LabelConditioner(FieldConditioner):
    """A learned vector for each class.

    Args:
        field: the name of the field.
        vocabulary: names of the classes.
        dim: D, the size of the vector.
        dropout: probability of hiding the class in training.
    """

    def __init__(self, field: str, vocabulary: Sequence[str], dim: int, dropout: float = 0.1):
        super().__init__(field, dropout)
        if not vocabulary or dim < 1:
            raise InputError(f"conditioning.{field} needs classes, and dim of at least 1, got {vocabulary} and {dim}")
        self.choices = tuple(vocabulary)
        self.vector_dim = dim
        self.index = {name: i for i, name in enumerate(self.choices)}
        self.embedding = nn.Embedding(len(self.choices), dim)

    @classmethod
    def settings_from(cls, field: str, column: Sequence[Any] | None) -> dict[str, Any]:
        values = () if column is None else column
        names = list(getattr(values, "names", ())) or sorted({str(value) for value in values if not is_unknown(value)})
        if not names:
            folders, columns = "sort all files into subfolders, one per class", f'add "{field}" to metadata.jsonl'
            way = folders if field == "label" else columns
            raise InputError(
                f"conditioning={field} needs labelled data and these have no {field}; {way}, or set conditioning=none"
            )
        return {"vocabulary": names}

    @classmethod
    def continued(cls, learned: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
        return {**learned, "vocabulary": extended(theirs["vocabulary"], learned["vocabulary"])}

    def forward(self, values: Sequence[Any]) -> Conditioning:
        device = self.embedding.weight.device
        indices = torch.tensor(
            [0 if is_unknown(value) else self._lookup(str(value)) for value in values], device=device
        )
        given = torch.tensor([not is_unknown(value) for value in values], device=device)
        return Conditioning(vector=self.embedding(indices)).where(given)

    def check(self, value: Any) -> None:
        if not is_unknown(value):
            self._lookup(str(value))

    def describe(self) -> str:
        return few_of(self.choices)

    def _lookup(self, name: str) -> int:
        if name not in self.index:
            known = few_of(self.choices, name)
            raise InputError(f"this model does not know the {self.field} {name!r}; it knows: {known}")
        return self.index[name]
