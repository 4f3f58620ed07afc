"""One of a fixed set of classes."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from multidiff.conditioners.base import Conditioner
from multidiff.diffusion.conditioning import Conditioning
from multidiff.errors import InputError


class LabelConditioner(Conditioner):
    """A learned vector for each class.

    Args:
        vocabulary: names of the classes.
        dim: D, the size of the vector.
        dropout: how often training hides the class.
    """

    reads = "label"

    def __init__(self, vocabulary: Sequence[str], dim: int, dropout: float = 0.1):
        super().__init__(dropout)
        self.vocabulary = tuple(vocabulary)
        self.vector_dim = dim
        self.index = {name: i for i, name in enumerate(self.vocabulary)}
        self.embedding = nn.Embedding(len(self.vocabulary), dim)

    @classmethod
    def settings_from(cls, label_names: Sequence[str], captions: Sequence[str]) -> dict[str, Any]:
        if not label_names:
            raise InputError(
                "conditioning=label needs labelled data and this has no labels; "
                "sort all files into sub-folders, one a class, or set conditioning=none"
            )
        return {"vocabulary": list(label_names)}

    def forward(self, values: Sequence[str | None]) -> Conditioning:
        device = self.embedding.weight.device
        indices = torch.tensor([0 if value is None else self._lookup(value) for value in values], device=device)
        given = torch.tensor([value is not None for value in values], device=device)
        return Conditioning(vector=self.embedding(indices)).where(given)

    def _lookup(self, name: str) -> int:
        if name not in self.index:
            raise InputError(f"this model does not know the label {name!r}; it knows: {', '.join(self.vocabulary)}")
        return self.index[name]
