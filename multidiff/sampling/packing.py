"""A trained model as one directory that needs nothing else: in half precision, with its learned codec inside.

DIR/    model.safetensors  config.yaml  README.md  codec/ (model.safetensors  config.yaml  README.md)

Or a folder that diffusers opens:

DIR/    model_index.json  unet/  scheduler/  README.md
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from multidiff.codecs.directory import CODEC, codec_hash, find_codec
from multidiff.codecs.learned import Learned
from multidiff.data.files import atomic_directory, new_file
from multidiff.diffusion.objectives import Trained
from multidiff.errors import InputError
from multidiff.pretrained import INDEX, diffusers_example, save_as_folder, save_single, save_trained
from multidiff.sampling.lineage import licence_of
from multidiff.sampling.model_directory import card, find_pipeline, load
from multidiff.sampling.pipeline import Pipeline
from multidiff.weights import CARD, HALF, WEIGHTS, find_model, read_config, write_into

COMPARED = 4
"""Samples by which a packed model is compared with its original."""


@dataclass(frozen=True)
class Packed:
    """What was written.

    Attributes:
        size: bytes of all its files.
        difference: root mean square difference of samples from those of the original, in their standard deviation; None
            where they were not compared.
    """

    size: int
    difference: float | None = None


def pack(source: Path, out: Path, licence: str = "", about: str = "") -> Packed:
    """Write the model at ``source`` into the directory ``out``, complete or not at all.

    Args:
        source: a run directory or a model directory.
        out: is replaced if it is a model directory.
        licence: identifier for the card, such as ``cc-by-sa-4.0``; by default that of the card of ``source``.
        about: Markdown for the card.

    Raises:
        InputError: there is no model, it needs a text encoder that is elsewhere, or ``out`` holds something else.
    """
    if find_pipeline(source):
        raise InputError(f"{source} is a pretrained pipeline: pack it with --format diffusers or --format single")
    original, directory = load(source, "cpu"), find_model(source)
    config = read_config(directory)
    licence = licence or licence_of(directory) or ""
    _check(config, directory, out)
    with atomic_directory(out) as folder:
        origin = {"weights_sha256": original.sha256}
        codec = original.model.codec
        if isinstance(codec, Learned):
            origin["codec_sha256"] = config["codec"]["sha256"]
            config["codec"] |= {
                "path": CODEC,
                "sha256": _pack_codec(find_codec(codec.path, codec.sha256), folder / CODEC),
            }
        config = {**_without_weights(config), "stored": HALF, "packed_from": origin}
        write_into(folder, halved(directory), config, card(original, config, out.name, licence, about))
        difference = apart(original, load(folder, "cpu"))
    return Packed(_size(out), difference)


def pack_for_diffusers(source: Path, out: Path, licence: str = "", about: str = "") -> Packed:
    """Write the model at ``source`` into the directory ``out`` as a folder of diffusers, complete or not at all.

    Args:
        source: of a model that was trained with ``backbone=unet_diffusers``.
        out: is replaced if it is such a folder.
        licence: as for `pack`.
        about: likewise.

    Raises:
        InputError: there is no such model, or ``out`` holds something else.
    """
    pipeline = load(source, "cpu")
    if pipeline.trained != Trained():
        raise InputError(f"{source} is a few-step model, which DDIMPipeline of diffusers cannot sample")
    _check_folder(out)
    with atomic_directory(out) as folder:
        save_trained(pipeline.model, pipeline.shape[1:], folder)
        directory = find_model(source)
        facts, example = read_config(directory), diffusers_example(pipeline.model, out.name)
        licence = licence or licence_of(directory) or ""
        text = card(pipeline, facts, out.name, licence, about, "diffusers", example)
        (folder / CARD).write_text(text, "utf-8")
    return Packed(_size(out))


def pack_pipeline(source: Path, out: Path, lora: Mapping[str, float]) -> Packed:
    """Write a pretrained pipeline with LoRAs inside its weights as a folder of diffusers, complete or not at all.

    Args:
        source: a folder of diffusers, or a single file.
        out: is replaced if it is another such folder.
        lora: files of LoRAs, each with its weight.

    Raises:
        InputError: it cannot be opened, a LoRA is not one for it, or ``out`` holds something else.
    """
    _check_folder(out)
    if out.resolve() == source.resolve():
        raise InputError(f"--out {out} is the pipeline itself; choose another folder")
    with atomic_directory(out) as folder:
        save_as_folder(source, lora, folder)
    return Packed(_size(out))


def pack_single(source: Path, out: Path, lora: Mapping[str, float]) -> Packed:
    """Write a pretrained pipeline with LoRAs inside its weights as a single file in the layout of the original code.

    Args:
        source: as for `pack_pipeline`.
        out: a new ``.safetensors`` file.
        lora: likewise.

    Raises:
        InputError: as for `pack_pipeline`, or its family has no such layout.
    """
    if out.suffix != ".safetensors" or out.exists():
        raise InputError(f"--out {out}: with --format single, name a new file that ends in .safetensors")
    with new_file(out) as path:
        save_single(source, lora, path)
    return Packed(out.stat().st_size)


def _check_folder(out: Path) -> None:
    """Refuse to replace what is no folder of diffusers."""
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / INDEX).is_file())):
        raise InputError(f"--out {out} holds something other than a folder of diffusers; choose another folder")


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def halved(directory: Path) -> dict[str, Tensor]:
    """The weights of a model directory in half precision.

    Raises:
        InputError: a weight is too large for it.
    """
    state = {
        name: tensor.half() if tensor.dtype == torch.float32 else tensor
        for name, tensor in load_file(directory / WEIGHTS).items()
    }
    name = next((name for name, tensor in state.items() if not bool(tensor.isfinite().all())), None)
    if name:
        raise InputError(f"{directory / WEIGHTS}: {name} has a weight above 65504, which half precision does not hold")
    return state


def apart(one: Pipeline, other: Pipeline) -> float:
    """How far the data of the same `COMPARED` samples of two models are apart, in their standard deviation."""
    rows = range(COMPARED)
    data, others = (each.model.decode(each.plan(COMPARED).x0(rows)) for each in (one, other))
    return float((data - others).square().mean().sqrt() / data.std())


def _check(config: Mapping[str, Any], directory: Path, out: Path) -> None:
    """Refuse a model that would not be complete, and to replace what is no model."""
    if "tuning" in config:
        raise InputError(
            f"{directory} is a LoRA, which is small, and needs the pipeline at {config['tuning'].get('path')}: share "
            f"{WEIGHTS} in it with the address of that"
        )
    elsewhere = [name for name, part in config["conditioning"].items() if "path" in part]
    if elsewhere:
        raise InputError(
            f"{directory} needs the text encoder at {config['conditioning'][elsewhere[0]]['path']}, which is too large "
            "to pack: share the model with the address of its encoder"
        )
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / WEIGHTS).is_file())):
        raise InputError(f"--out {out} holds something other than a model; choose another folder")
    if out.exists() and directory.resolve() == out.resolve():
        raise InputError(f"--out {out} is the model itself; choose another folder")


def _pack_codec(directory: Path, folder: Path) -> str:
    """Write the codec in ``directory`` into ``folder`` in half precision; its new hash."""
    folder.mkdir()
    config = {**_without_weights(read_config(directory)), "stored": HALF}
    write_into(folder, halved(directory), config, (directory / CARD).read_text("utf-8"))
    return codec_hash(folder)


def _without_weights(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without what `write_into` adds."""
    return {name: value for name, value in config.items() if name not in ("format", "multidiff", "weights_sha256")}
