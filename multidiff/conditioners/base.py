"""What a conditioner is, and how several become one."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multidiff.diffusion.conditioning import Conditioning
from multidiff.errors import InputError


class FieldConditioner(nn.Module, ABC):
    """Encodes one field of the data.

    Args:
        field: the name of the field, such as ``label``.
        dropout: probability of hiding the field in training, which guidance needs.

    Attributes:
        vector_dim: D of the vectors that it makes, 0 if it makes none.
        token_dim: E of the tokens that it makes, 0 if it makes none.
        choices: the values that it accepts, where they can be listed.
        null_is_zero: whether its null condition is `Conditioning.null`; otherwise it is what it makes of None.
    """

    vector_dim: int = 0
    token_dim: int = 0
    choices: tuple[str, ...] = ()
    null_is_zero: bool = True

    def __init__(self, field: str, dropout: float):
        super().__init__()
        if not 0 <= dropout <= 1:
            raise InputError(f"conditioning.{field}.dropout is a probability, got {dropout}")
        self.field, self.dropout = field, dropout

    @classmethod
    @abstractmethod
    def settings_from(cls, field: str, column: Sequence[Any] | None) -> dict[str, Any]:
        """The constructor arguments that only the data can tell.

        Args:
            field: the name of the field.
            column: its values in the data; None if the data have no such field.

        Raises:
            InputError: the data lack what this conditioner reads.
        """

    @classmethod
    def learned(cls, config: Mapping[str, Any], field: str, column: Sequence[Any] | None) -> dict[str, Any]:
        """As `settings_from`, for conditioners whose arguments also follow from their other settings, ``config``."""
        return cls.settings_from(field, column)

    @classmethod
    def continued(cls, learned: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
        """``learned`` as `learned` returns it, for weights that start from those of a trained conditioner.

        It then knows what both know, and names that only one knows come last.

        Args:
            learned: from the data.
            theirs: the settings of the trained conditioner, of the same class.
        """
        return dict(learned)

    @classmethod
    def resumed(cls, kept: Mapping[str, Any], learned: Mapping[str, Any]) -> dict[str, Any]:
        """The settings ``kept`` of a training that is resumed, with those of ``learned`` that change no weight."""
        return dict(kept)

    @abstractmethod
    def forward(self, values: Sequence[Any]) -> Conditioning:
        """Encode one value of the data a sample; None is the null condition.

        Raises:
            InputError: a value that this conditioner does not accept; the message says what it accepts.
        """

    def prompted(self, values: Sequence[Any]) -> Conditioning:
        """Encode values that a person requests, which may have a notation of their own, such as weights of words.

        Raises:
            InputError: as `forward`.
        """
        return self(values)

    def quoted(self, value: Any) -> Any:
        """The request that stands for a value of the data: `prompted` encodes it as `forward` encodes ``value``."""
        return value

    def remarks(self, values: Sequence[Any]) -> list[str]:
        """What a person should know about requested values, a line each."""
        return []

    def check(self, value: Any) -> None:
        """Refuse a value of the data as `forward` does."""
        self([value])

    def check_prompt(self, value: Any) -> None:
        """Refuse a requested value as `prompted` does."""
        self.check(value)

    def is_null(self, value: Any) -> bool:
        """Whether a requested value is the null condition."""
        return is_unknown(value)

    def accepts(self, value: Any) -> bool:
        """Whether `forward` takes ``value``."""
        try:
            self.check(value)
        except InputError:
            return False
        return True

    @abstractmethod
    def describe(self) -> str:
        """The values that it accepts, in a few words."""


class Conditioner(nn.Module):
    """Encodes the fields that its parts read, as one `Conditioning`.

    Vectors are concatenated, and so are tokens, after padding them with zeros to one width. Training hides each field
    on its own.

    Args:
        parts: conditioners by the field that each reads; none for an unconditional model.

    Attributes:
        reads: the fields that it reads.
        guided: the one field that guidance follows by default; None for all of them.
    """

    guided: str | None = None

    def __init__(self, parts: Mapping[str, FieldConditioner]):
        super().__init__()
        self.parts = nn.ModuleDict({_module_name(field): part for field, part in parts.items()})
        self.reads = tuple(parts)
        self.vector_dim = sum(part.vector_dim for part in self)
        self.token_dim = max((part.token_dim for part in self), default=0)

    def __iter__(self) -> Any:
        return iter(self.parts.values())

    @property
    def dropouts(self) -> dict[str, float]:
        """How often training hides each field."""
        return {part.field: part.dropout for part in self}

    @property
    def null_is_zero(self) -> bool:
        """Whether the null condition of each part is zero and no token."""
        return all(part.null_is_zero for part in self)

    def forward(self, samples: Sequence[Mapping[str, Any]]) -> Conditioning | None:
        """Encode the fields of each sample; a field that is missing or None is the null condition.

        Raises:
            InputError: a value that a part does not accept.
        """
        return self.joined([part([sample.get(part.field) for sample in samples]) for part in self])

    def joined(self, encoded: Sequence[Conditioning]) -> Conditioning | None:
        """One condition from those of the parts, in their order."""
        if not self.parts:
            return None
        vectors = [each.vector for each in encoded if each.vector is not None]
        tokens = [_padded(each.tokens, self.token_dim) for each in encoded if each.tokens is not None]
        masks = [each.mask for each in encoded if each.mask is not None]
        return Conditioning(
            torch.cat(vectors, dim=1) if vectors else None,
            torch.cat(tokens, dim=1) if tokens else None,
            torch.cat(masks, dim=1) if masks else None,
        )

    def columns(self) -> dict[str, slice]:
        """The components of the condition vector that each field makes."""
        ends = list(accumulate((part.vector_dim for part in self), initial=0))
        return dict(zip(self.reads, map(slice, ends, ends[1:]), strict=True))

    def own(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a sample of the data that the parts read, None for those that it lacks."""
        return {field: sample.get(field) for field in self.reads}

    def stated(self, samples: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The requested samples without the fields whose value is the null condition."""
        return [
            {part.field: sample[part.field] for part in self if not part.is_null(sample.get(part.field))}
            for sample in samples
        ]

    def known(self, samples: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The samples with None for values that the parts do not accept, as of data that changed during training."""
        return [
            {**sample, **{part.field: None for part in self if not part.accepts(sample.get(part.field))}}
            for sample in samples
        ]

    def unknown(self, columns: Mapping[str, Sequence[Any]]) -> dict[str, list[str]]:
        """The different values in columns of data that the parts do not accept, by field; none where all are."""
        found = {
            part.field: [str(value) for value in dict.fromkeys(columns.get(part.field, ())) if not part.accepts(value)]
            for part in self
        }
        return {field: values for field, values in found.items() if values}

    def quoted(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """The request that stands for the fields of a sample of the data."""
        return {**sample, **{part.field: part.quoted(sample[part.field]) for part in self if part.field in sample}}

    def remarks(self, samples: Sequence[Mapping[str, Any]]) -> list[str]:
        """What a person should know about requested samples, a line each."""
        return [line for part in self for line in part.remarks([sample.get(part.field) for sample in samples])]

    def dropped(self, samples: Sequence[Mapping[str, Any]], generator: torch.Generator) -> list[dict[str, Any]]:
        """The samples with each field hidden as often as its ``dropout`` says, independently."""
        kept = [dict(sample) for sample in samples]
        for field, dropout in self.dropouts.items():
            hide = torch.rand(len(samples), generator=generator, device=generator.device) < dropout
            for row in hide.nonzero()[:, 0].tolist():
                kept[row][field] = None
        return kept

    def describe(self) -> str:
        """The fields that it reads and what each accepts, in a few words."""
        return "; ".join(f"{part.field}: {part.describe()}" for part in self) or "no condition"


def extended(known: Sequence[str], found: Sequence[str]) -> list[str]:
    """The names ``known``, then those of ``found`` that are not among them."""
    return list(dict.fromkeys([*known, *found]))


def check_text(field: str, value: Any) -> None:
    """Refuse a requested value that is not a text, nor a number, which is the text that writes it.

    Raises:
        InputError: it is neither.
    """
    if not isinstance(value, str | int | float | None):
        raise InputError(f"{field} is a text, not {value!r}")


def is_unknown(value: Any) -> bool:
    """Whether ``value`` is the null condition: None, or the empty text that a row of a table may hold."""
    return value is None or value == ""


def _module_name(field: str) -> str:
    """``field``, or a code for it where torch takes no such name, as ``type``, ``keys`` and ``a.b``."""
    return field if field.isidentifier() and not hasattr(nn.ModuleDict, field) else f"field_{field.encode().hex()}"


def _padded(tokens: Tensor, dim: int) -> Tensor:
    return F.pad(tokens, (0, dim - tokens.shape[-1]))
