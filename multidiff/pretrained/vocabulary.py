"""Tokenizers of pretrained text encoders."""

import gzip
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from multidiff.conditioners.pretrained_text import quiet
from multidiff.conditioners.prompts import Prompt
from multidiff.conditioners.text import token_weight
from multidiff.data.cache import default_cache
from multidiff.errors import InputError
from multidiff.pretrained.libraries import library

MERGES = "bpe_simple_vocab_16e6.txt.gz"
"""CLIP's vocabulary as OpenAI published it, which packages of CLIP have."""

START, END = "<|startoftext|>", "<|endoftext|>"

LONGEST = 2**20
"""Tokenizers without a limit say that they read more tokens than this."""


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer of CLIP or T5, and the tokens that it puts around and after a text.

    Attributes:
        tokenizer: without padding, truncation and special tokens.
        start: token before each text; None for T5.
        end: token after it.
        padding: token that fills the rest.
        length: tokens that the encoder reads at a time, start and end included.
    """

    tokenizer: Tokenizer
    start: int | None
    end: int
    padding: int
    length: int

    @property
    def room(self) -> int:
        """Tokens of a text that the encoder reads at a time."""
        return self.length - len(self._before) - 1

    def chunks(self, prompt: Prompt) -> tuple[list[list[int]], list[list[float]]]:
        """The tokens of a prompt in rows of ``length``, and the weight of each token."""
        read = self.tokenizer.encode(prompt.text, add_special_tokens=False)
        weights = [token_weight(prompt, *span) for span in read.offsets]
        room = self.room
        starts = range(0, max(len(read.ids), 1), room)
        rows = [self._filled(read.ids[i : i + room]) for i in starts]
        return rows, [self._ones(weights[i : i + room]) for i in starts]

    def _filled(self, ids: list[int]) -> list[int]:
        return [*self._before, *ids, self.end, *[self.padding] * (self.room - len(ids))]

    def _ones(self, weights: list[float]) -> list[float]:
        return [*(1.0 for _ in self._before), *weights, *[1.0] * (self.room - len(weights) + 1)]

    @property
    def _before(self) -> list[int]:
        return [] if self.start is None else [self.start]


def load_vocabulary(folder: Path, longest: int | None, starts: bool = True) -> Vocabulary:
    """The tokenizer in ``folder``, for an encoder that reads at most ``longest`` tokens.

    Args:
        folder: of ``vocab.json`` and ``merges.txt``, or ``tokenizer.json``.
        longest: tokens, start and end included; None: as many as the tokenizer says.
        starts: whether texts begin with a token of their own, as for CLIP; false for T5.

    Raises:
        InputError: there is none.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        raise InputError(
            f"{folder}/ is missing: it holds the vocabulary of the tokenizer (vocab.json and merges.txt, or "
            "tokenizer.json); copy it from the source of the pipeline, or from one with the same text encoder"
        )
    transformers = library("transformers")
    try:
        with quiet(transformers.utils.logging):
            found = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        return _vocabulary(found, longest, starts)
    except InputError as error:
        raise InputError(f"{folder}/ {error}") from error
    except Exception as error:  # a damaged file raises any exception
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{folder}/ holds no tokenizer that transformers reads: {reason}") from error


def _vocabulary(found: Any, longest: int | None, starts: bool) -> Vocabulary:
    """The vocabulary of a tokenizer of transformers."""
    tokenizer = Tokenizer.from_str(found.backend_tokenizer.to_str())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    own = int(found.model_max_length) if found.model_max_length <= LONGEST else None
    length = min(own, longest) if starts and own and longest else longest or own
    if length is None:
        raise InputError("does not state the maximum number of tokens: set model_max_length in tokenizer_config.json")
    start = found.bos_token_id if starts else None
    if found.eos_token_id is None or found.pad_token_id is None or (starts and start is None):
        raise InputError("holds no tokenizer of this encoder: it has no token for the start, the end or the padding")
    return Vocabulary(tokenizer, start, found.eos_token_id, found.pad_token_id, length)


def file_vocabulary(path: Path, padding: str, longest: int) -> Vocabulary:
    """CLIP's tokenizer for a single file: in ``tokenizer/`` beside it, in the cache, or of an installed package.

    Args:
        path: of the single file.
        padding: token that fills the rest, which differs between encoders of the same vocabulary.
        longest: tokens, start and end included.

    Raises:
        InputError: there is none.
    """
    with clip_tokenizer(path) as folder:
        found = load_vocabulary(folder, longest)
    token = found.tokenizer.token_to_id(padding)
    return replace(found, padding=found.padding if token is None else token)


def file_t5_vocabulary(path: Path, name: str, longest: int) -> Vocabulary:
    """T5's tokenizer for a single file: in the folder ``name`` beside it, such as ``tokenizer_2``, or in the cache.

    Args:
        path: of the single file.
        name: of the folder.
        longest: tokens, the end included.

    Raises:
        InputError: there is none.
    """
    return load_vocabulary(t5_tokenizer(path, name), longest, starts=False)


@contextmanager
def clip_tokenizer(path: Path) -> Iterator[Path]:
    """The folder of CLIP's tokenizer for the single file ``path``, while the block runs; as for `file_vocabulary`.

    Raises:
        InputError: there is none.
    """
    places = [path.parent / "tokenizer", default_cache() / "weights" / "clip-tokenizer"]
    found = next((place for place in places if place.is_dir()), None)
    if found is not None:
        yield found
    elif packaged := _packaged():
        with tempfile.TemporaryDirectory() as temporary:
            _unpack(packaged, Path(temporary))
            yield Path(temporary)
    else:
        raise InputError(
            f"{path} needs the vocabulary of CLIP: copy tokenizer/ of any folder of Stable Diffusion to {places[0]}/ "
            f"or {places[1]}/, or pip install open_clip_torch"
        )


def t5_tokenizer(path: Path, name: str) -> Path:
    """The folder of T5's tokenizer for the single file ``path``; arguments and errors as for `file_t5_vocabulary`."""
    places = [path.parent / name, default_cache() / "weights" / "t5-tokenizer"]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise InputError(
            f"{path} needs the vocabulary of T5: copy {name}/ of a folder of diffusers to {places[0]}/ or {places[1]}/"
        )
    return found


def _packaged() -> Path | None:
    """The merges of CLIP in an installed package."""
    for package in ("open_clip", "clip"):
        spec = find_spec(package)
        for folder in spec.submodule_search_locations or () if spec else ():
            if (Path(folder) / MERGES).is_file():
                return Path(folder) / MERGES
    return None


def _unpack(merges: Path, folder: Path) -> None:
    """Write the vocabulary that OpenAI's file of merges describes, as transformers reads it."""
    lines = gzip.decompress(merges.read_bytes()).decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [*map(chr, printable), *(chr(256 + i) for i in range(256 - len(printable)))]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(line.split()) for line in lines)]
    ids = {piece: i for i, piece in enumerate([*pieces, START, END])}
    ends = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    (folder / "vocab.json").write_text(json.dumps(ids), "utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *lines]), "utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer", **ends}), "utf-8")
