"""Prompts through the frozen CLIP and T5 encoders of a pretrained pipeline."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from multidiff.conditioners import FieldConditioner
from multidiff.conditioners.base import check_text
from multidiff.conditioners.encodings import Encodings
from multidiff.conditioners.prompts import Prompt, literal, parse, quoted
from multidiff.diffusion.conditioning import Conditioning, concatenate
from multidiff.nn.frozen import Frozen
from multidiff.pretrained.vocabulary import Vocabulary

Encoded = tuple[Tensor, Tensor | None]
"""The states of the tokens, ``(chunks, L, E)``, and the vector of a text, ``(D,)``."""

Join = Callable[[Sequence[Encoded]], Encoded]
"""From what each encoder made of a text to the tokens, ``(L, E)``, and the vector that the network reads."""


class Tower(nn.Module):
    """One encoder with its vocabulary.

    Args:
        network: a CLIP text model or a T5 encoder of transformers.
        vocabulary: of its tokenizer.
        layer: whose states are the tokens: -1 is the last, with its norm; -2 the one before it.
        pooled: output of the network that is the vector of a text; None: it makes none.

    Attributes:
        width: E of the states.
        encodings: where states and vectors are kept, so that each text is encoded once; None encodes it each time.
    """

    def __init__(self, network: Any, vocabulary: Vocabulary, layer: int = -1, pooled: str | None = None):
        super().__init__()
        self.config = network.config
        self.encoder: nn.Module = Frozen(network)
        self.vocabulary, self.layer, self.pooled = vocabulary, layer, pooled
        self.width = int(network.config.hidden_size)
        self.encodings: Encodings | None = None

    @property
    def network(self) -> nn.Module:
        """The encoder."""
        return self.encoder.module if isinstance(self.encoder, Frozen) else self.encoder

    def unfreeze(self) -> None:
        """Make the encoder a part of the model, whose weights with a gradient train."""
        self.encoder, self.encodings = self.network, None

    @property
    def vector_dim(self) -> int:
        """Length of the vector of a text."""
        if self.pooled is None:
            return 0
        return self.config.projection_dim if self.pooled == "text_embeds" else self.config.hidden_size

    def forward(self, prompt: Prompt) -> Encoded:
        """The states of the tokens, ``(chunks, L, E)``, and the vector of the first chunk, ``(D,)``.

        The weight of a token moves its state along the line from that of the empty text, at its place, through its own.
        """
        rows, weights = self.vocabulary.chunks(prompt)
        states, vector = self._encoded(rows)
        if prompt.weighted:
            empty, _ = self._encoded(self.vocabulary.chunks(literal(""))[0])
            states = empty + torch.tensor(weights).to(states)[:, :, None] * (states - empty)
        return states, vector

    def _encoded(self, rows: list[list[int]]) -> Encoded:
        if self.encodings is None:
            return self._computed(rows)
        ids = tuple(token for row in rows for token in row)
        flat = torch.from_numpy(self.encodings.get([ids], lambda _: _flat(self._computed(rows)))[ids])
        states, vector = flat.to(self._device).split([len(ids) * self.width, self.vector_dim])
        return states.view(len(rows), -1, self.width), None if self.pooled is None else vector

    def _computed(self, rows: list[list[int]]) -> Encoded:
        network, device = self.network, self._device
        with torch.autocast(device.type, enabled=False):
            output = network(input_ids=torch.tensor(rows, device=device), output_hidden_states=self.layer != -1)
        states = output.last_hidden_state if self.layer == -1 else output.hidden_states[self.layer]
        return states, None if self.pooled is None else getattr(output, self.pooled)[0]

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device


def side_by_side(encoded: Sequence[Encoded]) -> Encoded:
    """The states of all encoders concatenated along their features, and so are their vectors."""
    count = max(len(states) for states, _ in encoded)
    tokens = torch.cat([_chunked(states, count) for states, _ in encoded], dim=-1).flatten(0, 1)
    return tokens, joined_vectors(encoded)


def joined_vectors(encoded: Sequence[Encoded]) -> Tensor | None:
    """The vectors that encoders made, one after another."""
    vectors = [vector for _, vector in encoded if vector is not None]
    return torch.cat(vectors) if vectors else None


def _chunked(states: Tensor, count: int) -> Tensor:
    """``states`` in ``count`` chunks; another tokenizer may have made fewer of the same text."""
    return torch.cat([states, states[-1:].expand(count - len(states), *states.shape[1:])])


class PromptConditioner(FieldConditioner):
    """Encodes prompts as a pretrained pipeline does: the states of its encoders, side by side, and a pooled vector.

    Prompts of more tokens than an encoder reads go through it in chunks, one after another, where diffusers cuts them
    off. Prompts have weights, as in `multidiff.conditioners.prompts`.

    Args:
        towers: the encoders.
        join: of their states and vectors; by default side by side.
        empty_is_zero: whether the null condition is zero, as in SDXL; false: that of the empty text.
    """

    null_is_zero = False

    def __init__(self, towers: Sequence[Tower], join: Join = side_by_side, empty_is_zero: bool = False):
        super().__init__("caption", dropout=0.0)
        self.towers = nn.ModuleList(towers)
        self.join, self.empty_is_zero = join, empty_is_zero
        tokens, vector = join([(torch.zeros(1, 1, t.width), _zeros(t.vector_dim)) for t in towers])
        self.token_dim, self.vector_dim = tokens.shape[-1], 0 if vector is None else len(vector)

    @classmethod
    def settings_from(cls, field: str, column: Sequence[Any] | None) -> dict[str, Any]:
        return {}

    def keep(self, folder: Path, name: str) -> None:
        """Encode each text once, and keep its states in ``folder``, for encoders that are called ``name`` there."""
        for i, tower in enumerate(self.encoding):
            tower.encodings = Encodings(folder, f"{name} {i} {tower.layer} {tower.pooled}")

    def forward(self, values: Sequence[Any]) -> Conditioning:
        return concatenate(*(self._encoded(value, literal) for value in values))

    @torch.no_grad()
    def prompted(self, values: Sequence[Any]) -> Conditioning:
        return concatenate(*(self._encoded(value, parse) for value in values))

    def quoted(self, value: Any) -> Any:
        return None if value is None else quoted(str(value))

    def check(self, value: Any) -> None:
        """Any value is a text."""

    def check_prompt(self, value: Any) -> None:
        check_text(self.field, value)
        parse(_text(value))

    def is_null(self, value: Any) -> bool:
        return value is None or (value == "" and not self.empty_is_zero)

    def remarks(self, values: Sequence[Any]) -> list[str]:
        """Prompts that are read in chunks."""
        vocabularies = [tower.vocabulary for tower in self.encoding]
        room = min(vocabulary.room for vocabulary in vocabularies)
        texts = dict.fromkeys(_text(value) for value in values if value is not None)
        counts = [max(len(each.chunks(parse(text))[0]) for each in vocabularies) for text in texts]
        long = [count for count in counts if count > 1]
        return (
            [f"{len(long)} prompts of more than {room} tokens are split into up to {max(long)} chunks"] if long else []
        )

    def describe(self) -> str:
        return "any text"

    @property
    def encoders(self) -> list[nn.Module]:
        """The networks of the encoders."""
        return [tower.network for tower in self.encoding]

    @property
    def encoding(self) -> list[Tower]:
        """The encoders, each with its vocabulary."""
        return [tower for tower in self.towers if isinstance(tower, Tower)]

    def _encoded(self, value: Any, read: Any) -> Conditioning:
        """The condition of one value, ``(1, ...)``."""
        states, pooled = self.join([tower(read(_text(value))) for tower in self.encoding])
        tokens, vector = states[None], None if pooled is None else pooled[None]
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        if value is None and self.empty_is_zero:
            return Conditioning(None if vector is None else torch.zeros_like(vector), torch.zeros_like(tokens), mask)
        return Conditioning(vector, tokens, mask)


def _flat(encoded: Encoded) -> np.ndarray:
    parts = [part.reshape(-1) for part in encoded if part is not None]
    return torch.cat(parts).float().cpu().numpy()


def _zeros(length: int) -> Tensor | None:
    return torch.zeros(length) if length else None


def _text(value: Any) -> str:
    return "" if value is None else str(value)
