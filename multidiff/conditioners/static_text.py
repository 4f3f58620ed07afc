"""Text through pretrained word vectors: words that no caption holds lie near their synonyms."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from multidiff.conditioners.pieces import Pieces
from multidiff.conditioners.text import TextEncoder
from multidiff.data.files import sha256
from multidiff.errors import InputError
from multidiff.nn.frozen import Frozen, loading_frozen
from multidiff.nn.sequence import SequenceEncoder

INSTALL = "pip install 'multidiff-toolkit[text]'"
TABLE, TOKENIZER = "weights/l2_supercat_256.safetensors", "tokenizers/l2_supercat_tokenizer_config.json"
"""Files of the package wordllama."""

WIDTH = 256
"""Of a word vector."""

_WORD = re.compile(r"\w+|[^\w\s]")


class StaticTextConditioner(TextEncoder):
    """A small transformer, trained on the captions, on the frozen word vectors of the package wordllama.

    The vector of a word is the mean of those of its pieces, at unit scale: https://github.com/dleemiller/WordLlama. The
    table is not saved with the model, which holds its hash.

    Args:
        field: the name of the field.
        known: the words of the training captions, separated by spaces.
        sha256: of the table and its tokenizer.
        dim: size of a token and of the vector.
        depth: transformer blocks.
        head_size: channels of each attention head.
        length: most words and punctuation marks that it reads.
        dropout: probability of hiding the text in training.

    Raises:
        InputError: wordllama is not installed, or its table is another one than in training.
    """

    def __init__(
        self,
        field: str,
        known: str,
        sha256: str,
        dim: int,
        depth: int = 2,
        head_size: int = 32,
        length: int = 64,
        dropout: float = 0.1,
    ):
        super().__init__(field, known, dim, length, dropout)
        folder = _package()
        if _hash(folder) != sha256:
            raise InputError(
                f"conditioning.{field}: the installed wordllama has other word vectors than the one that the model was "
                "trained with; install that version"
            )
        self.tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        with loading_frozen():
            self.table = Frozen(nn.Embedding.from_pretrained(load_file(folder / TABLE)["embedding.weight"].float()))
        self.project = nn.Linear(WIDTH, dim)
        self.encoder = SequenceEncoder(dim, depth, head_size=head_size)

    @classmethod
    def learned(cls, config: Mapping[str, Any], field: str, column: Sequence[Any] | None) -> dict[str, Any]:
        return {**cls.settings_from(field, column), "sha256": _hash(_package())}

    def pieces(self, texts: Sequence[str]) -> list[Pieces]:
        found = []
        for text in texts:
            spans = [match.span() for match in _WORD.finditer(text)]
            ids = [self._ids(text[start:end].lower()) for start, end in spans[: self.length]]
            found.append(Pieces(ids, spans[: self.length], len(spans) > self.length))
        return found

    def states(self, rows: Sequence[Pieces], mask: Tensor) -> Tensor:
        words = [word for row in rows for word in row.ids]
        ids = torch.tensor([i for word in words for i in word], dtype=torch.long, device=mask.device)
        starts = torch.tensor([0, *(len(word) for word in words[:-1])], device=mask.device).cumsum(0)
        table: Tensor = self.table.module.weight  # type: ignore[assignment]
        vectors = table.new_zeros(*mask.shape, table.shape[1])
        if words:
            vectors[mask] = F.rms_norm(F.embedding_bag(ids, table, starts, mode="mean"), table.shape[1:])
        return self.encoder(self.project(vectors), mask)

    def _ids(self, word: str) -> list[int]:
        return self.tokenizer.encode(word, add_special_tokens=False).ids


def _package() -> Path:
    """The folder of the package wordllama, which is not imported: only its files are read."""
    spec = find_spec("wordllama")
    folder = Path(spec.origin).parent if spec and spec.origin else None
    if folder is None or not all((folder / name).is_file() for name in (TABLE, TOKENIZER)):
        raise InputError(f"conditioning=text_static needs the package wordllama: {INSTALL}")
    return folder


@cache
def _hash(folder: Path) -> str:
    """One hash of both files."""
    return hashlib.sha256("".join(sha256(folder / name) for name in (TABLE, TOKENIZER)).encode()).hexdigest()
