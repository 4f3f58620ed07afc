"""Text: any string, encoded as tokens for attention and as one pooled vector."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from multidiff.conditioners.base import FieldConditioner, check_text, extended, is_unknown
from multidiff.conditioners.pieces import Pieces, byte_level, parts, read, train_merges, vocabulary
from multidiff.conditioners.prompts import Prompt, literal, parse, quoted
from multidiff.conditioners.words import words
from multidiff.diffusion.conditioning import Conditioning
from multidiff.errors import InputError, first_of
from multidiff.nn.sequence import SequenceEncoder

KNOWN = 100_000
"""Words of the captions that a model remembers, the most frequent ones: its config has a limited size."""

SHOWN = 10
"""Words, or prompts, that a remark lists."""


class TextEncoder(FieldConditioner):
    """What the encoders of text share: prompts with weights, cut texts, the null condition and pooling.

    The weight of a character multiplies the state of its token, which moves it along the line from the null condition,
    zero, through its encoding; 1 changes no bit. The pooled vector is the mean of the weighted states.

    Args:
        field: the name of the field.
        known: the words of the training captions, separated by spaces.
        dim: size of a token and of the vector.
        length: most tokens that it reads.
        dropout: probability of hiding the text in training.

    """

    def __init__(self, field: str, known: str, dim: int, length: int, dropout: float):
        super().__init__(field, dropout)
        if length < 1:
            raise InputError(f"conditioning.{field}.length is the number of tokens that are read, got {length}")
        self.length = length
        self.known = frozenset(known.split())
        self.token_dim = self.vector_dim = dim

    @classmethod
    def settings_from(cls, field: str, column: Sequence[Any] | None) -> dict[str, Any]:
        counts = Counter(word for text in captions(field, column) for word in words(text))
        return {"known": " ".join(sorted(word for word, _ in counts.most_common(KNOWN)))}

    @classmethod
    def continued(cls, learned: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
        return {**learned, "known": _all_known(theirs, learned)}

    @classmethod
    def resumed(cls, kept: Mapping[str, Any], learned: Mapping[str, Any]) -> dict[str, Any]:
        return {**kept, "known": _all_known(kept, learned)}

    @abstractmethod
    def states(self, rows: Sequence[Pieces], mask: Tensor) -> Tensor:
        """The state of each token, ``(B, L, dim)``; padding has no effect on others, and any state.

        Args:
            rows: the tokens of B texts.
            mask: ``(B, L)``, true where a token is valid, false for padding.
        """

    @abstractmethod
    def pieces(self, texts: Sequence[str]) -> list[Pieces]:
        """The tokens of each text, cut to the length that is read."""

    def forward(self, values: Sequence[Any]) -> Conditioning:
        return self._encoded([literal(_text(value)) for value in values])

    def prompted(self, values: Sequence[Any]) -> Conditioning:
        return self._encoded([parse(_text(value)) for value in values])

    def quoted(self, value: Any) -> Any:
        return value if is_unknown(value) else quoted(_text(value))

    def check(self, value: Any) -> None:
        """Any value is a text."""

    def check_prompt(self, value: Any) -> None:
        check_text(self.field, value)
        parse(_text(value))

    def is_null(self, value: Any) -> bool:
        return not parse(_text(value)).text.strip()

    def remarks(self, values: Sequence[Any]) -> list[str]:
        """The words that training never saw, and what the encoder cannot read of a prompt that is too long."""
        texts = list(dict.fromkeys(text for value in values if (text := parse(_text(value)).text).strip()))
        unseen = dict.fromkeys(word for text in texts for word in words(text) if word not in self.known)
        cut = [
            f"{text[pieces.end :].strip()!r} of {_short(text)!r}"
            for text, pieces in zip(texts, self.pieces(texts), strict=True)
            if pieces.cut
        ]
        lines = [f"training never saw these words: {first_of([*map(_short, unseen)], SHOWN)}"] if unseen else []
        return lines + ([f"the prompt is too long for this model; cut off: {first_of(cut, SHOWN)}"] if cut else [])

    def describe(self) -> str:
        return f"any text; training saw {len(self.known)} words"

    def pool(self, states: Tensor, mask: Tensor) -> Tensor:
        """The vector, ``(B, dim)``, of the weighted states, which are zero where ``mask`` is false."""
        return states.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)

    def _encoded(self, prompts: Sequence[Prompt]) -> Conditioning:
        given = [bool(prompt.text.strip()) for prompt in prompts]
        found = iter(self.pieces([prompt.text for prompt, there in zip(prompts, given, strict=True) if there]))
        rows = [next(found) if there else Pieces() for there in given]
        lengths = torch.tensor([len(row.ids) for row in rows], device=next(self.parameters()).device)
        mask = torch.arange(max(1, *(len(row.ids) for row in rows)), device=lengths.device) < lengths[:, None]
        weights = torch.ones(mask.shape)
        for i, (row, prompt) in enumerate(zip(rows, prompts, strict=True)):
            if prompt.weighted:
                weights[i, : len(row.ids)] = torch.tensor([token_weight(prompt, *span) for span in row.spans])
        states = self.states(rows, mask)
        states = (states * weights.to(states)[:, :, None]).masked_fill(~mask[:, :, None], 0)
        return Conditioning(self.pool(states, mask), states, mask)


def _all_known(first: Mapping[str, Any], further: Mapping[str, Any]) -> str:
    """The known words in the settings of both, those of ``first`` in front."""
    return " ".join(extended(first["known"].split(), further["known"].split())[:KNOWN])


class TextConditioner(TextEncoder):
    """A small transformer on byte-level BPE, both of them trained on the captions: it needs nothing from outside.

    In training, a merged piece is sometimes split into its two parts, and these again, so that the small pieces of
    which an unknown word is made are trained too: Provilkov et al. (2020), https://arxiv.org/abs/1910.13267.

    Args:
        field: the name of the field.
        merges: of the BPE, as `train_merges` returns them.
        known: the words of the training captions, separated by spaces.
        dim: size of a token and of the vector.
        depth: transformer blocks.
        head_size: channels of each attention head.
        length: most tokens that it reads.
        split: how often training splits a piece.
        dropout: probability of hiding the text in training.
    """

    def __init__(
        self,
        field: str,
        merges: str,
        known: str,
        dim: int,
        depth: int = 2,
        head_size: int = 32,
        length: int = 64,
        split: float = 0.1,
        dropout: float = 0.1,
    ):
        super().__init__(field, known, dim, length, dropout)
        if not 0 <= split < 1:
            raise InputError(f"conditioning.{field}.split is a probability below 1, got {split}")
        self.split = split
        self.parts = parts(merges)
        self.tokenizer = byte_level(merges, length)
        self.embedding = nn.Embedding(len(vocabulary(merges)), dim)
        self.encoder = SequenceEncoder(dim, depth, head_size=head_size)

    @classmethod
    def settings_from(cls, field: str, column: Sequence[Any] | None) -> dict[str, Any]:
        return {**super().settings_from(field, column), "merges": train_merges(captions(field, column))}

    @classmethod
    def continued(cls, learned: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
        return {**super().continued(learned, theirs), "merges": theirs["merges"]}

    def pieces(self, texts: Sequence[str]) -> list[Pieces]:
        found = read(self.tokenizer, texts)
        return [self._resplit(row) for row in found] if self.training and self.split else found

    def states(self, rows: Sequence[Pieces], mask: Tensor) -> Tensor:
        ids = torch.zeros(mask.shape, dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, : len(row.ids)] = torch.tensor(row.ids, dtype=torch.long)
        return self.encoder(self.embedding(ids.to(mask.device)), mask)

    def _resplit(self, row: Pieces) -> Pieces:
        """``row`` with some of its pieces split, by torch's own generator."""
        chosen = torch.rand(len(row.ids)) < self.split
        ids = [self._split(piece) if split else [piece] for piece, split in zip(row.ids, chosen.tolist(), strict=True)]
        spans = [span for span, parts in zip(row.spans, ids, strict=True) for _ in parts]
        return Pieces([piece for parts in ids for piece in parts][: self.length], spans[: self.length], row.cut)

    def _split(self, piece: int) -> list[int]:
        """The two parts of ``piece``, each of which is split with even odds; a byte has none."""
        if piece not in self.parts:
            return [piece]
        return [
            smaller
            for part in self.parts[piece]
            for smaller in (self._split(part) if float(torch.rand(())) < 0.5 else [part])
        ]


def captions(field: str, column: Sequence[Any] | None) -> list[str]:
    """The texts in a column.

    Raises:
        InputError: there are none.
    """
    texts = [_text(value) for value in column or () if not is_unknown(value)]
    if not any(words(text) for text in texts):
        raise InputError(
            f"conditioning on the text {field} needs captions and these data have none; "
            "put a .txt beside each file or a metadata.jsonl in the folder, or set conditioning=none"
        )
    return texts


def _text(value: Any) -> str:
    """A value as Unicode; characters that file systems and shells make of other bytes become question marks."""
    return "" if value is None else str(value).encode("utf-8", "replace").decode()


def token_weight(prompt: Prompt, start: int, end: int) -> float:
    """The weight of a token: the mean over its characters other than spaces."""
    weights = [prompt.weights[i] for i in range(start, end) if not prompt.text[i].isspace()]
    return fmean(weights) if weights else 1.0


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
