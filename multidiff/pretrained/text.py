"""Prompts through the frozen CLIP encoders of a pretrained pipeline."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from multidiff.conditioners import FieldConditioner
from multidiff.conditioners.pretrained_text import quiet
from multidiff.conditioners.prompts import Prompt, literal, parse, quoted
from multidiff.conditioners.text import token_weight
from multidiff.diffusion.conditioning import Conditioning, concatenate
from multidiff.errors import InputError
from multidiff.nn.frozen import Frozen
from multidiff.pretrained.libraries import library

LONGEST = 2**20
"""Tokenizers without a limit say that they read more tokens than this."""


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer of CLIP, and the tokens that it puts around and after a text.

    Attributes:
        tokenizer: without padding, truncation and special tokens.
        start: token before each text.
        end: token after it.
        padding: token that fills the rest.
        length: tokens that the encoder reads at a time, start and end included.
    """

    tokenizer: Tokenizer
    start: int
    end: int
    padding: int
    length: int

    def chunks(self, prompt: Prompt) -> tuple[list[list[int]], list[list[float]]]:
        """The tokens of a prompt in rows of ``length``, and the weight of each token."""
        read = self.tokenizer.encode(prompt.text, add_special_tokens=False)
        weights = [token_weight(prompt, *span) for span in read.offsets]
        room = self.length - 2
        starts = range(0, max(len(read.ids), 1), room)
        rows = [self._filled(read.ids[i : i + room]) for i in starts]
        return rows, [self._ones(weights[i : i + room]) for i in starts]

    def _filled(self, ids: list[int]) -> list[int]:
        return [self.start, *ids, self.end, *[self.padding] * (self.length - len(ids) - 2)]

    def _ones(self, weights: list[float]) -> list[float]:
        return [1.0, *weights, *[1.0] * (self.length - len(weights) - 1)]


class Tower(nn.Module):
    """One encoder with its vocabulary.

    Args:
        network: a CLIP text model of transformers.
        vocabulary: of its tokenizer.
        layer: whose states are the tokens: -1 is the last, with its norm; -2 the one before it.
    """

    def __init__(self, network: Any, vocabulary: Vocabulary, layer: int = -1):
        super().__init__()
        self.config = network.config
        self.encoder = Frozen(network)
        self.vocabulary, self.layer = vocabulary, layer

    @property
    def pooled(self) -> bool:
        """Whether it makes a vector of a text."""
        return hasattr(self.encoder.module, "text_projection")

    def forward(self, prompt: Prompt) -> tuple[Tensor, Tensor | None]:
        """The states of the tokens, ``(chunks, L, E)``, and the vector of the first chunk, ``(D,)``.

        The weight of a token moves its state along the line from that of the empty text, at its place, through its own.
        """
        rows, weights = self.vocabulary.chunks(prompt)
        states, vector = self._encoded(rows)
        if prompt.weighted:
            empty, _ = self._encoded(self.vocabulary.chunks(literal(""))[0])
            states = empty + torch.tensor(weights).to(states)[:, :, None] * (states - empty)
        return states, vector

    def _encoded(self, rows: list[list[int]]) -> tuple[Tensor, Tensor | None]:
        network = self.encoder.module
        device = next(network.parameters()).device
        with torch.autocast(device.type, enabled=False):
            output = network(input_ids=torch.tensor(rows, device=device), output_hidden_states=self.layer != -1)
        states = output.last_hidden_state if self.layer == -1 else output.hidden_states[self.layer]
        return states, output.text_embeds[0] if self.pooled else None


class PromptConditioner(FieldConditioner):
    """Encodes prompts as a pretrained pipeline does: the states of its encoders, side by side, and a pooled vector.

    Prompts of more tokens than an encoder reads go through it in chunks, one after another, where diffusers cuts them
    off. Prompts have weights, as in `multidiff.conditioners.prompts`.

    Args:
        towers: the encoders, whose states are concatenated.
        empty_is_zero: whether the null condition is zero, as in SDXL; false: that of the empty text.
    """

    null_is_zero = False

    def __init__(self, towers: Sequence[Tower], empty_is_zero: bool = False):
        super().__init__("caption", dropout=0.0)
        self.towers = nn.ModuleList(towers)
        self.empty_is_zero = empty_is_zero
        self.token_dim = sum(tower.config.hidden_size for tower in towers)
        self.vector_dim = sum(tower.config.projection_dim for tower in towers if tower.pooled)

    @classmethod
    def settings_from(cls, field: str, column: Sequence[Any] | None) -> dict[str, Any]:
        return {}

    @torch.no_grad()
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
        parse(_text(value))

    def remarks(self, values: Sequence[Any]) -> list[str]:
        """Prompts that are read in chunks."""
        vocabularies = [tower.vocabulary for tower in self._towers]
        room = min(vocabulary.length for vocabulary in vocabularies) - 2
        texts = dict.fromkeys(_text(value) for value in values if value is not None)
        counts = [max(len(each.chunks(parse(text))[0]) for each in vocabularies) for text in texts]
        long = [count for count in counts if count > 1]
        return [f"{len(long)} prompts of more than {room} tokens are read in up to {max(long)} chunks"] if long else []

    def describe(self) -> str:
        return "any text"

    @property
    def encoders(self) -> list[nn.Module]:
        """The networks of the encoders, which are frozen."""
        return [tower.encoder.module for tower in self._towers]

    @property
    def _towers(self) -> list[Tower]:
        return [tower for tower in self.towers if isinstance(tower, Tower)]

    def _encoded(self, value: Any, read: Any) -> Conditioning:
        """The condition of one value, ``(1, ...)``."""
        encoded = [tower(read(_text(value))) for tower in self._towers]
        count = max(len(states) for states, _ in encoded)
        tokens = torch.cat([self._chunked(states, count) for states, _ in encoded], dim=-1).flatten(0, 1)[None]
        vectors = [vector for _, vector in encoded if vector is not None]
        vector = torch.cat(vectors)[None] if vectors else None
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        if value is None and self.empty_is_zero:
            return Conditioning(None if vector is None else torch.zeros_like(vector), torch.zeros_like(tokens), mask)
        return Conditioning(vector, tokens, mask)

    def _chunked(self, states: Tensor, count: int) -> Tensor:
        """``states`` in ``count`` chunks; another tokenizer may have made fewer of the same text."""
        return torch.cat([states, states[-1:].expand(count - len(states), *states.shape[1:])])


def load_vocabulary(folder: Path, longest: int) -> Vocabulary:
    """The tokenizer of CLIP in ``folder``, for an encoder that reads at most ``longest`` tokens.

    Raises:
        InputError: there is none.
    """
    transformers = library("transformers")
    if not folder.is_dir() or not any(folder.iterdir()):
        raise InputError(
            f"{folder}/ is missing: it holds the vocabulary of the tokenizer (vocab.json and merges.txt, or "
            "tokenizer.json); copy it from the source of the pipeline, or from one with the same text encoder"
        )
    try:
        with quiet(transformers.utils.logging):
            found = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        tokenizer = Tokenizer.from_str(found.backend_tokenizer.to_str())
        tokenizer.no_padding()
        tokenizer.no_truncation()
        length = longest if found.model_max_length > LONGEST else min(int(found.model_max_length), longest)
        ends = (found.bos_token_id, found.eos_token_id, found.pad_token_id)
    except Exception as error:  # a damaged file raises any exception
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{folder}/ holds no tokenizer that transformers reads: {reason}") from error
    if None in ends:
        raise InputError(f"{folder}/ holds no tokenizer of CLIP: it has no token for the start, the end or the padding")
    return Vocabulary(tokenizer, *ends, length)


def _text(value: Any) -> str:
    return "" if value is None else str(value)
