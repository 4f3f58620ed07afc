"""A folder that diffusers saved: which parts it has, and the model that they make.

::

    FOLDER/    model_index.json  scheduler/  unet/ or transformer/  vae/  text_encoder/  tokenizer/  ...
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from multidiff.configuration import read_json
from multidiff.data.files import sha256
from multidiff.errors import InputError, first_of
from multidiff.pretrained.families import FAMILIES, assembled, built
from multidiff.pretrained.flow_transformers import T5_LENGTH
from multidiff.pretrained.outline import Outline, outlined_part
from multidiff.pretrained.parts import Opened, Parts
from multidiff.pretrained.vocabulary import Vocabulary, load_vocabulary
from multidiff.pretrained.weights import find_weights, load_part, loaded_type

INDEX, SCHEDULER = "model_index.json", "scheduler/scheduler_config.json"

Load = Callable[[Path, str, str, torch.dtype | None], Any]
"""Makes the network of a part from its folder, library, class and type; None is that of its file."""

CLASSES = {
    "UNet2DConditionModel": "diffusers",
    "UNet2DModel": "diffusers",
    "AutoencoderKL": "diffusers",
    "AutoencoderTiny": "diffusers",
    "SD3Transformer2DModel": "diffusers",
    "FluxTransformer2DModel": "diffusers",
    "StableAudioDiTModel": "diffusers",
    "AutoencoderOobleck": "diffusers",
    "StableAudioProjectionModel": "stable_audio",
    "CLIPTextModel": "transformers",
    "CLIPTextModelWithProjection": "transformers",
    "T5EncoderModel": "transformers",
}
"""Classes of networks that a folder may name, and their libraries, or the pipelines of diffusers that bring them."""


def folder_hash(path: Path) -> str:
    """One hash of all configs, tokenizers and weights of a folder."""
    suffixes = (".json", ".safetensors", ".txt", ".model")
    files = sorted(file for file in path.rglob("*") if file.suffix in suffixes and file.is_file())
    lines = [f"{file.relative_to(path).as_posix()} {sha256(file)}\n" for file in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def read_index(path: Path) -> dict[str, Any]:
    """The contents of ``model_index.json``, of a supported pipeline whose parts are all there.

    Raises:
        InputError: it is not supported, or a part is missing.
    """
    index = read_json(path / INDEX)
    kind = index.get("_class_name") if isinstance(index, dict) else None
    if kind not in FAMILIES:
        raise InputError(f"{path / INDEX} describes a {kind}; supported: {', '.join(FAMILIES)}")
    missing = [part for part in FAMILIES[kind].parts if not (path / part).is_dir()]
    if missing:
        names = first_of([f"{part}/" for part in missing], 6)
        raise InputError(f"{path}/ holds an incomplete {kind}: {names} missing; copy the whole folder")
    return index


def open_folder(path: Path, device: str) -> Opened:
    """The pipeline in a folder that diffusers saved; nothing is fetched, and no code of the folder runs.

    On a GPU the weights keep the precision of their files; on a CPU they are in float32.

    Raises:
        InputError: a part is missing, damaged, or of a kind that is not supported.
    """
    return assembled(folder_parts(path, device), str(path / SCHEDULER), device)


def outline_folder(path: Path) -> Outline:
    """What a folder that diffusers saved is, by its configs.

    Raises:
        InputError: a part is missing, damaged, or of a kind that is not supported.
    """
    parts = folder_parts(path, None, lambda folder, library, name, _: outlined_part(folder, library, name))
    return Outline(parts.kind, parts.networks, built(parts, str(path / SCHEDULER)))


def folder_parts(path: Path, device: str | None, load: Load = load_part) -> Parts:
    """The parts in a folder, in the type for a device; None: each in that of its file.

    Args:
        path: of the folder.
        device: on which they compute.
        load: makes the network of a part from its folder, library, class and type.

    Raises:
        InputError: one is missing, damaged, or of a kind that is not supported.
    """
    index = read_index(path)
    family = FAMILIES[index["_class_name"]]
    scheduler = _scheduler(path)
    stored = find_weights(path / family.denoiser, "diffusers").dtype
    dtype = None if device is None else loaded_type(stored, device)
    names = [part for part in family.parts if part != "scheduler" and not part.startswith("tokenizer")]
    names += [part for part in family.optional if (path / part).is_dir()]
    networks = {part: load(path / part, *_class(path, index, part), dtype) for part in names}
    encoders = [part for part in names if part.startswith("text_encoder")]
    vocabularies = {part: _vocabulary(path, part, networks[part], index["_class_name"]) for part in encoders}
    return Parts(path, index["_class_name"], networks, vocabularies, scheduler, index, dtype or stored)


def _class(path: Path, index: Mapping[str, Any], part: str) -> tuple[str, str]:
    """The library and the class of a part, which is allowed."""
    entry = index.get(part)
    library, name = entry if isinstance(entry, list) and len(entry) == 2 else (None, None)
    if CLASSES.get(str(name)) != library or library is None:
        raise InputError(f"{path / INDEX}: {part} is a {entry}; supported: {', '.join(CLASSES)}")
    return library if library == "transformers" else "diffusers", str(name)


def _vocabulary(path: Path, part: str, network: Any, kind: str) -> Vocabulary:
    """The tokenizer of a text encoder; T5 has relative positions, so its length is that of the pipeline."""
    folder = path / part.replace("text_encoder", "tokenizer")
    if network.config.model_type == "t5":
        return load_vocabulary(folder, T5_LENGTH.get(kind), starts=False)
    return load_vocabulary(folder, network.config.max_position_embeddings)


def _scheduler(path: Path) -> dict[str, Any]:
    file = path / SCHEDULER
    config = read_json(file)
    if not isinstance(config, dict) or not isinstance(config.get("_class_name"), str):
        raise InputError(f"{file} is not the config of a scheduler: it has no _class_name")
    return config
