"""What a trained or pretrained model is: a diffusion model, a codec, a pipeline, or a LoRA."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from multidiff.cli.finding import Inspection, no_picture
from multidiff.codecs.directory import codec_hash, is_codec, load_codec
from multidiff.configuration import instantiate
from multidiff.data.captions import read_text
from multidiff.errors import InputError
from multidiff.modality import Modality
from multidiff.model import class_name, described_network
from multidiff.pretrained import INDEX, SAVED, is_lora, lora_facts, lora_file, outline
from multidiff.sampling.lineage import HEAD, licence_in, started_from
from multidiff.sampling.model_directory import CONFIG, WEIGHTS, load, read_config
from multidiff.sampling.notebook import model_facts
from multidiff.weights import CARD

GENERATED = 16
"""Samples in the picture of a model."""

MADE_OF = ("schedule", "prediction", "codec", "objective")
"""Groups of a model's config whose classes are told."""

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Characters of a card by which it could command a terminal."""


def inspected_model(path: Path) -> Inspection | None:
    """The model in the folder ``path``, of any kind; None if there is none.

    Raises:
        InputError: it cannot be used.
    """
    if (path / INDEX).is_file():
        return inspected_pipeline(path)
    if (path / WEIGHTS).exists() and (path / CONFIG).exists():
        config = read_config(path)
        return _with_card(_codec(path, config) if is_codec(config) else _model(path, config), path)
    if any((path / name).is_file() for name in SAVED) and is_lora(lora_file(path)):
        return _with_card(_lora(lora_file(path)), path)
    return None


def inspected_weights(path: Path) -> Inspection:
    """A single file of weights: of a model here, a LoRA, or a pretrained pipeline.

    Raises:
        InputError: it is none of them, or damaged.
    """
    own = inspected_model(path.parent) if path.name == WEIGHTS and (path.parent / CONFIG).is_file() else None
    if own is not None:
        return own
    return _lora(path) if path.suffix == ".safetensors" and is_lora(path) else inspected_pipeline(path)


def inspected_pipeline(path: Path) -> Inspection:
    """A pretrained pipeline, by its configs and the shapes of its weights.

    Raises:
        InputError: it is damaged, or of a kind that is not supported.
    """
    found = outline(path)
    facts = {"family": found.kind}
    if found.opened is not None:
        opened, modality = found.opened, instantiate(Modality, found.opened.modality_config)
        facts |= {
            "modality": modality.name,
            "samples": _shape(opened.model.codec.data_shape(opened.shape)),
            "latents": _shape(opened.shape),
            "conditions": opened.model.conditioner.describe(),
            "sampling": f"{opened.sampler['name']}, {opened.sampler['steps']} steps, guidance {opened.guidance:g}",
        }
    for name, network in found.networks.items():
        facts[name] = f"{type(network).__name__}, {sum(weight.numel() for weight in network.parameters()):,} parameters"
    if path.is_file():
        facts["bytes"] = f"{path.stat().st_size:,}"
    shown = no_picture(f"no picture of {path}: generate one with multidiff sample {path} -n 1 --prompt TEXT")
    kind = "a pretrained pipeline" if path.is_dir() else "a pretrained pipeline in a single file"
    problems = [found.problem] if found.problem else []
    return _with_card(Inspection(kind, facts, shown, problems), path, text=False)


def _model(path: Path, config: Mapping[str, Any]) -> Inspection:
    """A model directory, or a LoRA that was trained here."""
    facts = lora_facts(path / WEIGHTS) if "tuning" in config else {}
    kind = "a LoRA that was trained here" if facts else "a model"
    try:
        pipeline = load(path, "cpu")
    except InputError as error:
        if not facts:
            raise
        return Inspection(kind, facts, no_picture(str(error)), [str(error)])

    def picture() -> Image.Image:
        conditioner = pipeline.model.conditioner
        fields = {part.field: list(part.choices[:GENERATED]) for part in conditioner if part.choices}
        return pipeline.modality.preview(pipeline.sample(GENERATED, fields=fields))

    if config.get("backbone"):
        facts["network"] = described_network(config["backbone"])
        facts["diffusion"] = ", ".join(f"{name} {class_name(config[name])}" for name in MADE_OF if config.get(name))
    origin = started_from(config.get("training"))
    facts |= {"started from": CONTROL.sub("", origin)} if origin else {}
    size = {"bytes": f"{(path / WEIGHTS).stat().st_size:,}"}
    return Inspection(kind, {**model_facts(pipeline), **facts, **size}, picture)


def _codec(path: Path, config: Mapping[str, Any]) -> Inspection:
    trained, shape, training = load_codec(path, codec_hash(path)), config.get("data_shape"), config.get("training")
    if (
        not isinstance(shape, list)
        or not all(isinstance(size, int) for size in shape)
        or not isinstance(training, dict)
    ):
        raise InputError(f"{path / CONFIG} lacks the data_shape or the training of the codec")
    facts = {
        "modality": instantiate(Modality, config["modality"]).name,
        "data": _shape(shape),
        "latents": _shape(trained.network.shape(tuple(shape))),
        "parameters": f"{sum(weight.numel() for weight in trained.network.parameters()):,}",
        **{f"training {name.replace('_', ' ')}": str(value) for name, value in training.items()},
        "hash": trained.sha256[:12],
        "bytes": f"{(path / WEIGHTS).stat().st_size:,}",
    }
    shown = no_picture(f"no picture of {path}: a codec generates no samples; score it with multidiff evaluate {path}")
    return Inspection("a codec", facts, shown)


def _lora(path: Path) -> Inspection:
    facts = {**lora_facts(path), "bytes": f"{path.stat().st_size:,}"}
    shown = no_picture(
        f"no picture of {path}: a LoRA needs its pipeline: multidiff sample MODEL --lora {path} --prompt TEXT"
    )
    return Inspection("a LoRA", facts, shown)


def _with_card(found: Inspection, path: Path, text: bool = True) -> Inspection:
    """``found`` with the licence and the text of the card in the folder ``path``, if there is one.

    Args:
        found: in the folder.
        path: of it.
        text: whether to show the text; cards of others are long, so their path is a fact instead.
    """
    card = path / CARD
    if not card.is_file():
        return found
    try:
        content = CONTROL.sub("", read_text(card))
    except InputError as error:
        return replace(found, problems=[*found.problems, str(error)])
    head = HEAD.match(content)
    facts = {**found.facts, "licence": licence_in(content) or "not stated"}
    if not text:
        return replace(found, facts={**facts, "card": str(card)})
    return replace(found, facts=facts, text=content[head.end() if head else 0 :].strip())


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
