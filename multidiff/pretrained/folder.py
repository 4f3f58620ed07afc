"""A folder that diffusers saved: which parts it has, and the model that they make.

::

    FOLDER/    model_index.json  scheduler/  unet/ or transformer/  vae/  text_encoder/  tokenizer/  ...
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from multidiff.conditioners import Conditioner
from multidiff.configuration import load_option, read_json
from multidiff.data.files import sha256
from multidiff.errors import InputError, first_of
from multidiff.model import Model
from multidiff.pretrained.autoencoder import AutoencoderCodec
from multidiff.pretrained.denoiser import UNetDenoiser
from multidiff.pretrained.scheduler import prediction_of, sampler_of, schedule_of
from multidiff.pretrained.text import PromptConditioner, Tower, load_vocabulary
from multidiff.pretrained.weights import find_weights, load_part

INDEX = "model_index.json"

CLASSES = {
    "UNet2DConditionModel": "diffusers",
    "AutoencoderKL": "diffusers",
    "AutoencoderTiny": "diffusers",
    "CLIPTextModel": "transformers",
    "CLIPTextModelWithProjection": "transformers",
}
"""Classes of networks that a folder may name, and their libraries."""

PARTS = {
    "StableDiffusionPipeline": ("unet", "vae", "scheduler", "text_encoder", "tokenizer"),
    "StableDiffusionXLPipeline": (
        *("unet", "vae", "scheduler", "text_encoder", "tokenizer"),
        *("text_encoder_2", "tokenizer_2"),
    ),
}
"""Parts that a pipeline needs; others, such as a safety checker, are not used."""

GUIDANCE = {"StableDiffusionPipeline": 7.5, "StableDiffusionXLPipeline": 5.0}
"""Default scale of guidance, that of diffusers."""

LAYER = {"StableDiffusionPipeline": -1, "StableDiffusionXLPipeline": -2}
"""Layer of the text encoders whose states the U-Net attends to."""


@dataclass(frozen=True)
class Opened:
    """A pretrained pipeline.

    Attributes:
        model: with its weights.
        modality_config: of its artifacts.
        shape: of x0, ``(C, *size)``.
        sampler: a config of the group ``sampler``.
        guidance: scale; 1 is off.
    """

    model: Model
    modality_config: Mapping[str, Any]
    shape: tuple[int, ...]
    sampler: Mapping[str, Any]
    guidance: float


def is_pipeline(path: Path) -> bool:
    """Whether ``path`` holds, or once held, a pretrained pipeline."""
    return (path / INDEX).is_file()


def pipeline_hash(path: Path) -> str:
    """One hash of all configs, tokenizers and weights of a pipeline."""
    suffixes = (".json", ".safetensors", ".txt", ".model")
    files = sorted(file for file in path.rglob("*") if file.suffix in suffixes and file.is_file())
    lines = [f"{file.relative_to(path).as_posix()} {sha256(file)}\n" for file in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def open_folder(path: Path, device: str) -> Opened:
    """The pipeline in a folder that diffusers saved; nothing is fetched, and no code of the folder runs.

    On a GPU the weights keep the precision of their files; on a CPU they are in float32.

    Raises:
        InputError: a part is missing, damaged, or of a kind that is not supported.
    """
    index = _index(path)
    config = _scheduler(path)
    try:
        schedule, prediction, sampler = schedule_of(config), prediction_of(config), sampler_of(config)
    except (ValueError, TypeError) as error:  # an InputError is a ValueError
        raise InputError(f"{path / 'scheduler' / 'scheduler_config.json'}: {error}") from error
    kind = index["_class_name"]
    codec = AutoencoderCodec(_network(path, index, "vae"))
    network = _network(path, index, "unet")
    towers = _towers(path, index)
    _check_widths(path, network, codec, sum(tower.config.hidden_size for tower in towers))
    prompts = PromptConditioner(towers, bool(index.get("force_zeros_for_empty_prompt", False)))
    denoiser = UNetDenoiser(network, schedule, prediction, codec.factor)
    model = Model(codec, Conditioner({"caption": prompts}), denoiser)
    if torch.device(device).type != "cpu":
        model.to(find_weights(path / "unet", "diffusers").dtype)
    size = network.config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    modality = {**load_option("modality", "image"), "channels": codec.data_channels}
    return Opened(model.to(device), modality, (codec.channels, height, width), sampler, GUIDANCE[kind])


def _index(path: Path) -> dict[str, Any]:
    """The contents of ``model_index.json``, of a supported pipeline whose parts are all there."""
    index = read_json(path / INDEX)
    kind = index.get("_class_name") if isinstance(index, dict) else None
    if kind not in PARTS:
        raise InputError(f"{path / INDEX} describes a {kind}, and MultiDiff opens {', '.join(PARTS)}")
    missing = [part for part in PARTS[kind] if not (path / part).is_dir()]
    if missing:
        names = first_of([f"{part}/" for part in missing], 6)
        raise InputError(f"{path}/ holds half a {kind}: {names} missing; copy the whole folder")
    return index


def _network(path: Path, index: Mapping[str, Any], part: str) -> Any:
    """The network of a part, of a class that is allowed."""
    entry = index.get(part)
    library, name = entry if isinstance(entry, list) and len(entry) == 2 else (None, None)
    if CLASSES.get(str(name)) != library or library is None:
        raise InputError(f"{path / INDEX}: {part} is a {entry}, which is none of {', '.join(CLASSES)}")
    return load_part(path / part, library, str(name))


def _towers(path: Path, index: Mapping[str, Any]) -> list[Tower]:
    """The text encoders with their tokenizers."""
    kind, towers = index["_class_name"], []
    for part in PARTS[kind]:
        if part.startswith("text_encoder"):
            network = _network(path, index, part)
            tokenizer = path / part.replace("text_encoder", "tokenizer")
            words = load_vocabulary(tokenizer, network.config.max_position_embeddings)
            towers.append(Tower(network, words, LAYER[kind]))
    return towers


def _scheduler(path: Path) -> dict[str, Any]:
    file = path / "scheduler" / "scheduler_config.json"
    config = read_json(file)
    if not isinstance(config, dict) or not isinstance(config.get("_class_name"), str):
        raise InputError(f"{file} is not the config of a scheduler: it has no _class_name")
    return config


def _check_widths(path: Path, network: Any, codec: AutoencoderCodec, tokens: int) -> None:
    """Refuse parts that do not fit together."""
    widths = {
        "in_channels": (network.config.in_channels, codec.channels, "the latents of the autoencoder have"),
        "cross_attention_dim": (network.config.cross_attention_dim, tokens, "the states of the text encoders have"),
    }
    for name, (own, given, what) in widths.items():
        if own != given:
            raise InputError(f"{path}/: the parts do not fit: {name} of the U-Net is {own}, and {what} {given}")
