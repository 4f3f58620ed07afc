"""Text through a frozen encoder that transformers loads from a folder."""

import copy
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from multidiff.conditioners.encodings import Encodings
from multidiff.conditioners.pieces import Pieces, read
from multidiff.conditioners.static_text import INSTALL
from multidiff.conditioners.text import TextEncoder
from multidiff.data.cache import default_cache
from multidiff.data.files import sha256 as file_hash
from multidiff.errors import InputError
from multidiff.nn.frozen import Frozen, loading_frozen

POOLINGS = ("mean", "first", "last")
"""Whose state is the vector: all tokens, the first (BERT's ``[CLS]``) or the last (CLIP's end of text)."""

ENCODERS = {"clip": "CLIPTextModel", "t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"}
"""Classes of transformers by type of model, where `AutoModel` would also load what does not read text."""


class PretrainedTextConditioner(TextEncoder):
    """A frozen encoder of text, such as CLIP's, T5 or MiniLM, with a trained norm and linear layer on its states.

    The encoder is referred to by its folder and a hash, and is not saved with the model. Its states are computed once
    for each distinct text and kept in the folder ``text`` of the cache.

    Args:
        field: the name of the field.
        known: the words of the training captions, separated by spaces.
        path: the folder, or the name of one in the folder ``weights`` of the cache.
        sha256: of the folder.
        dim: size of a token and of the vector.
        layer: whose states are used: -1 is the last, with its norm; -2 the one before it.
        pooling: one of `POOLINGS`.
        length: most tokens that it reads; the encoder may read fewer.
        dropout: probability of hiding the text in training.

    Raises:
        InputError: the folder is missing, is no encoder of text, or is another one than in training.
    """

    def __init__(
        self,
        field: str,
        known: str,
        path: str,
        sha256: str,
        dim: int,
        layer: int = -1,
        pooling: str = "mean",
        length: int = 64,
        dropout: float = 0.1,
    ):
        super().__init__(field, known, dim, length, dropout)
        if pooling not in POOLINGS:
            raise InputError(f"conditioning.{field}.pooling is one of {', '.join(POOLINGS)}, got {pooling!r}")
        folder = encoder_folder(path)
        found = folder_hash(folder)
        if found != sha256:
            raise InputError(
                f"the text encoder {folder}/ has the hash {found[:12]}, and the model was trained with {sha256[:12]}: "
                f"put that encoder there, or change conditioning.{field}.path in the config of the model"
            )
        self.layer, self.pooling = layer, pooling
        with loading_frozen():
            network = load_encoder(folder)
        layers = network.config.num_hidden_layers
        if not -layers - 1 <= layer <= layers:
            raise InputError(f"conditioning.{field}.layer is from {-layers - 1} to {layers} for {folder}/, got {layer}")
        self.encoder = Frozen(network)
        self.tokenizer = load_tokenizer(folder, min(length, _longest(network)))
        self.norm = nn.LayerNorm(network.config.hidden_size)
        self.project = nn.Linear(network.config.hidden_size, dim)
        self.encodings = Encodings(default_cache() / "text", f"{sha256} {layer}")

    @classmethod
    def learned(cls, config: Mapping[str, Any], field: str, column: Sequence[Any] | None) -> dict[str, Any]:
        folder = encoder_folder(str(config["path"])).resolve()
        return {**cls.settings_from(field, column), "path": str(folder), "sha256": folder_hash(folder)}

    def pieces(self, texts: Sequence[str]) -> list[Pieces]:
        return read(self.tokenizer, texts)

    def states(self, rows: Sequence[Pieces], mask: Tensor) -> Tensor:
        known = self.encodings.get([tuple(row.ids) for row in rows if row.ids], self._encode)
        hidden = torch.zeros(*mask.shape, self.norm.normalized_shape[0])
        for i, row in enumerate(rows):
            if row.ids:
                hidden[i, : len(row.ids)] = torch.from_numpy(known[tuple(row.ids)]).view(len(row.ids), -1)
        return self.project(self.norm(hidden.to(self.norm.weight)))

    def pool(self, states: Tensor, mask: Tensor) -> Tensor:
        if self.pooling == "mean":
            return super().pool(states, mask)
        places = (mask.sum(dim=1) - 1).clamp(min=0) if self.pooling == "last" else mask.new_zeros(len(mask)).long()
        return states[torch.arange(len(states), device=states.device), places]

    @torch.no_grad()
    def _encode(self, ids: tuple[int, ...]) -> np.ndarray:
        """The states of one text, ``(L, H)``, in float32; alone, so that they do not depend on other texts."""
        network = self.encoder.module
        device = next(network.parameters()).device
        with torch.autocast(device.type, enabled=False):
            output = network(input_ids=torch.tensor([ids], device=device), output_hidden_states=True)
        states = output.last_hidden_state if self.layer == -1 else output.hidden_states[self.layer]
        return states[0].float().cpu().numpy()


def encoder_folder(path: str) -> Path:
    """The folder ``path``, or the one of that name in the folder ``weights`` of the cache.

    Raises:
        InputError: there is none.
    """
    given = Path(path).expanduser()
    for folder in (given, default_cache() / "weights" / given.name):
        if (folder / "config.json").is_file():
            return folder
    raise InputError(
        f"there is no text encoder at {path}: conditioning.caption.path is a folder that transformers saved, with its "
        f"tokenizer; it may also be at {default_cache() / 'weights' / given.name}"
    )


def folder_hash(folder: Path) -> str:
    """One hash of the config, the tokenizer and the weights in ``folder``."""
    suffixes = (".json", ".safetensors", ".txt", ".model")
    files = sorted(path for path in folder.iterdir() if path.suffix in suffixes and path.is_file())
    lines = [f"{path.name} {file_hash(path)}\n" for path in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def load_encoder(folder: Path) -> Any:
    """The encoder in ``folder``, frozen; no code of the folder runs.

    Raises:
        InputError: the folder holds no such encoder, or transformers is not installed.
    """
    transformers = _transformers(folder)
    settings = {"local_files_only": True, "trust_remote_code": False}
    try:
        kind = transformers.AutoConfig.from_pretrained(folder, **settings).model_type
        loader = getattr(transformers, ENCODERS.get(kind, "AutoModel"))
        with quiet(transformers.utils.logging):
            network, report = loader.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True, dtype=torch.float32
            )
    except Exception as error:  # a damaged file raises any exception
        raise InputError(f"{folder}/ holds no text encoder that transformers reads: {_line(error)}") from error
    missing = [name for name in report["missing_keys"] if "pooler" not in name]
    if missing:
        raise InputError(f"{folder}/ lacks weights of its encoder, such as {missing[0]}")
    return network.eval().requires_grad_(False)


def load_tokenizer(folder: Path, length: int) -> Tokenizer:
    """The tokenizer in ``folder``, which cuts texts to ``length`` tokens, those that it adds included.

    Raises:
        InputError: the folder holds none.
    """
    transformers = _transformers(folder)
    try:
        loaded = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        tokenizer = copy.deepcopy(loaded.backend_tokenizer)
        tokenizer.no_padding()
        tokenizer.enable_truncation(length)
    except Exception as error:  # a damaged file raises any exception
        raise InputError(f"{folder}/ holds no fast tokenizer that transformers reads: {_line(error)}") from error
    return tokenizer


def _transformers(folder: Path) -> Any:
    try:
        import transformers  # noqa: PLC0415
    except ImportError as error:
        raise InputError(f"the text encoder {folder}/ needs transformers: {INSTALL}") from error
    return transformers


@contextmanager
def quiet(logging: Any) -> Iterator[None]:
    """No report and no progress bar of the library whose logging module this is: whatever matters is an error here."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _longest(network: Any) -> int:
    """How many tokens an encoder reads; those with relative positions have no limit."""
    positions = getattr(network.config, "max_position_embeddings", None) or 2**20
    padding = network.config.pad_token_id if network.config.model_type in ("roberta", "xlm-roberta") else -1
    return int(positions) - (padding + 1)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
