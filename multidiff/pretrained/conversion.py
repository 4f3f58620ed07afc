"""A pretrained pipeline with LoRAs inside its weights, and a single file as a folder of diffusers."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from multidiff.configuration import read_json
from multidiff.model import Model
from multidiff.pretrained.families import FAMILIES, assembled
from multidiff.pretrained.folder import INDEX
from multidiff.pretrained.libraries import library
from multidiff.pretrained.lora import fuse
from multidiff.pretrained.networks import networks_of
from multidiff.pretrained.opening import stored_parts
from multidiff.pretrained.parts import Parts
from multidiff.pretrained.saving import save_folder
from multidiff.pretrained.stack import stacked
from multidiff.pretrained.terminal import with_its_class
from multidiff.pretrained.vocabulary import Vocabulary, clip_tokenizer, t5_tokenizer

UNUSED = {"safety_checker": [None, None], "feature_extractor": [None, None], "requires_safety_checker": False}
"""In the index of Stable Diffusion 1 and 2: parts that a single file has not."""

INPAINTING = 9
"""Channels that a U-Net for inpainting reads."""


def fused_parts(source: Path, lora: Mapping[str, float]) -> tuple[Model, Parts]:
    """The pipeline at ``source`` in the precision in which it is stored, with LoRAs inside its weights.

    Args:
        source: a folder or a file.
        lora: files of LoRAs, each with its weight.

    Returns:
        The model, and the parts that it is made of.

    Raises:
        InputError: it cannot be opened, or a LoRA is not one for it.
    """
    parts = stored_parts(source)
    model = assembled(parts, str(source), "cpu").model
    for file, weight in stacked(lora):
        fuse(model, file, weight)
    return model, replace(parts, networks=networks_of(model))


def save_as_folder(source: Path, lora: Mapping[str, float], folder: Path) -> None:
    """Save the pipeline at ``source`` as a folder that diffusers opens, with LoRAs inside its weights.

    Args:
        source: a folder of diffusers, or a single file.
        lora: files of LoRAs, each with its weight.
        folder: new or empty.

    Raises:
        InputError: it cannot be opened, or a LoRA is not one for it.
    """
    model, parts = fused_parts(source, lora)
    if source.is_dir():
        save_folder(model, source, folder)
        return
    version = library("diffusers").__version__
    index: dict[str, Any] = {"_class_name": pipeline_class(parts), "_diffusers_version": version, **parts.settings}
    index |= UNUSED if parts.kind == "StableDiffusionPipeline" else {}
    for name in FAMILIES[parts.kind].optional:
        index |= {name: [None, None], tokenizer_of(name): [None, None]}
    for name, network in parts.networks.items():
        network.save_pretrained(folder / name, safe_serialization=True)
        index[name] = [type(network).__module__.partition(".")[0], type(network).__name__]
    for name, vocabulary in parts.vocabularies.items():
        tokenizer = tokenizer_of(name)
        index[tokenizer] = ["transformers", _save_tokenizer(source, vocabulary, folder / tokenizer)]
    scheduler = with_its_class(parts.scheduler)
    index["scheduler"] = ["diffusers", scheduler["_class_name"]]
    (folder / "scheduler").mkdir()
    _write(folder / "scheduler" / "scheduler_config.json", {**scheduler, "_diffusers_version": version})
    _write(folder / INDEX, index)


def pipeline_class(parts: Parts) -> str:
    """The class of a pipeline in diffusers: that a single file is for inpainting, only its U-Net tells."""
    config = parts.networks[FAMILIES[parts.kind].denoiser].config
    if "Inpaint" in parts.kind or config.in_channels != INPAINTING:
        return parts.kind
    return parts.kind.replace("Pipeline", "InpaintPipeline")


def tokenizer_of(encoder: str) -> str:
    """The folder of the tokenizer of a text encoder."""
    return encoder.replace("text_encoder", "tokenizer")


def _save_tokenizer(source: Path, vocabulary: Vocabulary, folder: Path) -> str:
    """Copy the tokenizer that a single file uses, with its padding; its class."""
    if vocabulary.start is None:  # T5
        shutil.copytree(t5_tokenizer(source, folder.name), folder)
        return _tokenizer_class(folder, "T5TokenizerFast")
    with clip_tokenizer(source) as found:
        shutil.copytree(found, folder)
    padding = vocabulary.tokenizer.id_to_token(vocabulary.padding)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        file = folder / name
        if file.is_file():
            _write(file, {**read_json(file), "pad_token": padding})
    return _tokenizer_class(folder, "CLIPTokenizer")


def _tokenizer_class(folder: Path, usual: str) -> str:
    file = folder / "tokenizer_config.json"
    return str(read_json(file).get("tokenizer_class", usual)) if file.is_file() else usual


def _write(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
