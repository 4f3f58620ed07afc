"""A number, such as a duration."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from multidiff.conditioners.base import FieldConditioner, is_unknown
from multidiff.diffusion.conditioning import Conditioning
from multidiff.errors import InputError


class NumberConditioner(FieldConditioner):
    """A vector of Fourier features of a number, through a linear layer.

    The number is mapped from ``[low, high]`` to [0, 1] before its features, cosines and sines of octaves of half a
    turn, are taken: Tancik et al. (2020), https://arxiv.org/abs/2006.10739.

    Args:
        field: the name of the field.
        low: the smallest number in the training data.
        high: the largest number in the training data.
        dim: D, the size of the vector.
        octaves: of the features; each resolves differences half as large as the one before.
        extrapolate: whether numbers outside ``[low, high]`` are accepted, although training had none.
        dropout: probability of hiding the number in training.
    """

    frequencies: Tensor

    def __init__(
        self,
        field: str,
        low: float,
        high: float,
        dim: int = 64,
        octaves: int = 6,
        extrapolate: bool = False,
        dropout: float = 0.1,
    ):
        super().__init__(field, dropout)
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise InputError(f"conditioning.{field} needs a range of finite numbers, got {low} to {high}")
        if dim < 1 or octaves < 0:
            raise InputError(f"conditioning.{field} needs dim of at least 1 and octaves, got {dim} and {octaves}")
        self.low, self.high, self.extrapolate, self.vector_dim = low, high, extrapolate, dim
        self.register_buffer("frequencies", math.pi * 2.0 ** torch.arange(octaves), persistent=False)
        self.project = nn.Linear(1 + 2 * octaves, dim)

    @classmethod
    def settings_from(cls, field: str, column: Sequence[Any] | None) -> dict[str, Any]:
        known = [value for value in (() if column is None else column) if not is_unknown(value)]
        if not known:
            raise InputError(
                f"conditioning on {field} needs that number for the samples, and these data have none; "
                f'add "{field}": NUMBER to each line of metadata.jsonl, or leave it out of conditioning'
            )
        numbers = [_number(field, value) for value in known]
        return {"low": min(numbers), "high": max(numbers)}

    @classmethod
    def continued(cls, learned: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
        return {**learned, "low": min(theirs["low"], learned["low"]), "high": max(theirs["high"], learned["high"])}

    def forward(self, values: Sequence[Any]) -> Conditioning:
        device = self.project.weight.device
        numbers = [self.low if is_unknown(value) else self._accepted(value) for value in values]
        given = torch.tensor([not is_unknown(value) for value in values], device=device)
        span = self.high - self.low or 1.0
        place = torch.tensor([(number - self.low) / span for number in numbers], device=device)
        angles = place[:, None] * self.frequencies
        features = torch.cat([2 * place[:, None] - 1, angles.cos(), angles.sin()], dim=1)
        return Conditioning(vector=self.project(features)).where(given)

    def check(self, value: Any) -> None:
        if not is_unknown(value):
            self._accepted(value)

    def describe(self) -> str:
        return f"a number from {self.low:g} to {self.high:g}"

    def _accepted(self, value: Any) -> float:
        number = _number(self.field, value)
        if not self.extrapolate and not self.low <= number <= self.high:
            raise InputError(
                f"{self.field}={number:g} is outside of the training data, which run from {self.low:g} to "
                f"{self.high:g}; a model trained with conditioning.{self.field}.extrapolate=true accepts others"
            )
        return number


def _number(field: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{field} is a number, got {value!r}") from error
    if not math.isfinite(number):
        raise InputError(f"{field} is a finite number, got {value!r}")
    return number
