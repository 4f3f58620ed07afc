"""Short descriptions in the words of the training captions."""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from multidiff.conditioners.base import FieldConditioner, check_text, extended, is_unknown
from multidiff.diffusion.conditioning import Conditioning
from multidiff.errors import InputError, few_of


def words(text: str) -> list[str]:
    """The words of a caption, lower case, without punctuation; combining marks belong to their letters."""
    composed = unicodedata.normalize("NFC", text.lower())
    letters = "".join(each if each.isalnum() or each == "_" or _is_mark(each) else " " for each in composed)
    return letters.split()


def _is_mark(character: str) -> bool:
    """Whether it modifies the letter before it, as vowel signs and accents do."""
    return unicodedata.category(character).startswith("M")


class WordConditioner(FieldConditioner):
    """A learned token for each word, in order, over the closed vocabulary of the training captions.

    Version 0.2 called it ``conditioning=text``. It suits captions made of a few hundred words, and refuses all others.

    Args:
        field: the name of the field.
        vocabulary: the words.
        dim: E, the size of a token.
        length: the most words that a prompt may have, those of the longest caption.
        dropout: probability of hiding the caption in training.
    """

    def __init__(self, field: str, vocabulary: Sequence[str], dim: int, length: int, dropout: float = 0.1):
        super().__init__(field, dropout)
        self.vocabulary = tuple(vocabulary)
        self.token_dim = dim
        self.length = length
        self.index = {word: i for i, word in enumerate(self.vocabulary)}
        self.embedding = nn.Embedding(len(self.vocabulary), dim)
        self.position = nn.Parameter(torch.randn(length, dim) / dim**0.5)

    @classmethod
    def settings_from(cls, field: str, column: Sequence[Any] | None) -> dict[str, Any]:
        texts = [str(text) for text in column or () if text is not None]
        vocabulary = sorted({word for text in texts for word in words(text)})
        if not vocabulary:
            raise InputError(
                f"conditioning=words needs captions and these data have no {field}; "
                "put a .txt beside each file or a metadata.jsonl in the folder, or set conditioning=none"
            )
        return {"vocabulary": vocabulary, "length": max(len(words(text)) for text in texts)}

    @classmethod
    def continued(cls, learned: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
        vocabulary = extended(theirs["vocabulary"], learned["vocabulary"])
        return {**learned, "vocabulary": vocabulary, "length": max(theirs["length"], learned["length"])}

    def forward(self, values: Sequence[Any]) -> Conditioning:
        encoded = [self._encode(_text(value)) for value in values]
        longest = max(1, *(len(row) for row in encoded))
        device = self.position.device
        indices = torch.tensor([row + [0] * (longest - len(row)) for row in encoded], device=device)
        lengths = torch.tensor([len(row) for row in encoded], device=device)
        mask: Tensor = torch.arange(longest, device=device) < lengths[:, None]
        tokens = self.embedding(indices) + self.position[:longest]
        return Conditioning(tokens=tokens * mask[:, :, None], mask=mask)

    def check(self, value: Any) -> None:
        self._encode(_text(value))

    def check_prompt(self, value: Any) -> None:
        check_text(self.field, value)
        self.check(value)

    def is_null(self, value: Any) -> bool:
        return not words(_text(value))

    def describe(self) -> str:
        return f"a text of up to {self.length} words, of {len(self.vocabulary)} known ones"

    def _encode(self, text: str) -> list[int]:
        unknown = [word for word in words(text) if word not in self.index]
        if unknown:
            raise InputError(
                f"this model does not know the word {unknown[0]!r} in the prompt {text!r}; "
                f"it knows: {few_of(self.vocabulary, unknown[0])}"
            )
        if len(words(text)) > self.length:
            raise InputError(f"the prompt {text!r} has {len(words(text))} words, and this model reads {self.length}")
        return [self.index[word] for word in words(text)]


def _text(value: Any) -> str:
    return "" if is_unknown(value) else str(value)
