"""The conditions of samples: each distinct value of a field is encoded once, by itself."""

import operator
from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch

from multidiff.conditioners import Conditioner, FieldConditioner
from multidiff.diffusion.conditioning import Conditioning, concatenate
from multidiff.errors import InputError

KEPT = 1024
"""Encoded values that are kept at a time."""


class Conditions:
    """Encodes requested samples for one sampling call.

    A value is encoded alone, so that its encoding does not depend on the other samples of a batch, to the bit.

    Args:
        conditioner: of the model, whose weights must not change meanwhile.
    """

    def __init__(self, conditioner: Conditioner):
        self.conditioner = conditioner
        self._rows: dict[Hashable, Conditioning] = {}

    @torch.no_grad()
    def __call__(self, samples: Sequence[Mapping[str, Any]]) -> Conditioning | None:
        """The conditions of a batch.

        Raises:
            InputError: a part of the conditioner does not accept a value.
        """
        columns = [(part, [sample.get(part.field) for sample in samples]) for part in self.conditioner]
        return self.conditioner.joined(
            [concatenate(*(self._row(part, value) for value in column)) for part, column in columns]
        )

    def _row(self, part: FieldConditioner, value: Any) -> Conditioning:
        """The condition of one value, ``(1, ...)``."""
        key = (part.field, _key(value))
        if key not in self._rows:
            if len(self._rows) >= KEPT:
                self._rows.clear()
            self._rows[key] = part.prompted([value])
        return self._rows[key]


def check(conditioner: Conditioner, samples: Sequence[Mapping[str, Any]]) -> None:
    """Refuse requested samples that ``conditioner`` cannot encode.

    Raises:
        InputError: a part of it does not accept a value.
    """
    for part in conditioner:
        values = [sample.get(part.field) for sample in samples]
        for value in {_key(value): value for value in values}.values():
            part.check_prompt(value)


def plain(value: Any) -> Any:
    """A requested value as records hold it: numbers of Python, and text without the lone surrogates of shells."""
    if isinstance(value, np.generic):
        return value.item()
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def counted(what: str, count: Any) -> int:
    """``count`` as an integer of Python; ``what`` names it in messages.

    Raises:
        InputError: it is not an integer of at least 1.
    """
    with suppress(TypeError):
        if (integer := operator.index(count)) >= 1:
            return integer
    raise InputError(f"{what} must be an integer of at least 1, got {count!r}")


def _key(value: Any) -> Hashable:
    """What equal values share: plain ones their type and value, objects from Python their identity."""
    return (type(value), value) if value is None or isinstance(value, str | int | float) else id(value)


def checked_prompts(prompts: Any, prompt: Any) -> list[str]:
    """``prompts`` as requests hold them.

    Raises:
        InputError: they are not a list of texts, or come with a single ``prompt``.
    """
    if prompt is not None:
        raise InputError("give a prompt or several prompts, not both")
    texts = [] if isinstance(prompts, str) or not isinstance(prompts, Iterable) else list(prompts)
    if not texts or not all(isinstance(text, str) for text in texts):
        raise InputError(f"prompts is a list of texts, at least 1, got {prompts!r}")
    return [plain(text) for text in texts]
