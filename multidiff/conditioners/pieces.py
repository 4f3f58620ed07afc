"""Pieces of text: a byte-level BPE that is trained on captions, and what tokenizers make of a text.

Sennrich et al. (2016), https://arxiv.org/abs/1508.07909, on bytes, as GPT-2 does: every string can be encoded.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Encoding, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

VOCABULARY = 8192
"""Pieces, at most, the 256 bytes included."""

FREQUENCY = 2
"""How often a pair of pieces must occur to become a piece: what occurs once stays in smaller pieces."""

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads do not survive the fork of loader processes


@dataclass(frozen=True)
class Pieces:
    """A text as an encoder reads it.

    Attributes:
        ids: of the pieces; where a piece is a word, those of its own pieces.
        spans: the characters of each piece, ``(start, end)``; empty for pieces that stand for no character.
        cut: whether the text is longer than the tokenizer reads.
    """

    ids: Sequence[Any] = ()
    spans: Sequence[tuple[int, int]] = ()
    cut: bool = False

    @property
    def end(self) -> int:
        """Number of characters that were read."""
        return max((end for _, end in self.spans), default=0)


def read(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Pieces]:
    """The pieces of each text."""
    encodings: list[Encoding] = tokenizer.encode_batch(list(texts))
    return [Pieces(each.ids, each.offsets, bool(each.overflowing)) for each in encodings]


def train_merges(texts: Iterable[str]) -> str:
    """The merges of a byte-level BPE for ``texts``: left and right part of each in turn, separated by spaces."""
    tokenizer = byte_level("")
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=FREQUENCY,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return " ".join(f"{left} {right}" for left, right in merges)


def byte_level(merges: str, length: int | None = None) -> Tokenizer:
    """A tokenizer for any string: lower case, single spaces, bytes, and ``merges`` as `train_merges` returns them.

    Args:
        merges: in the order of their priority.
        length: most pieces that it reads.
    """
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary(merges), merges=_pairs(merges)))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Lowercase(), normalizers.Strip(), normalizers.Replace(Regex(r"\s+"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    if length is not None:
        tokenizer.enable_truncation(length)
    return tokenizer


def vocabulary(merges: str) -> dict[str, int]:
    """The index of each piece: the bytes, then the merged pieces."""
    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(left + right for left, right in _pairs(merges))]
    return {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}


def parts(merges: str) -> dict[int, tuple[int, int]]:
    """The indices of the two parts of each merged piece."""
    index = vocabulary(merges)
    return {index[left + right]: (index[left], index[right]) for left, right in reversed(_pairs(merges))}


def _pairs(merges: str) -> list[tuple[str, str]]:
    pieces = merges.split(" ") if merges else []
    return list(zip(pieces[::2], pieces[1::2], strict=True))
