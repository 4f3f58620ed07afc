"""A trained model on disk: weights, the config that rebuilds it, and a model card.

model/    model.safetensors (EMA weights)  config.yaml  README.md  codec/ (only if packed)
"""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from multidiff import weights as files
from multidiff.codecs.directory import CODEC, is_codec
from multidiff.configuration import instantiate
from multidiff.data.files import atomic_directory, sha256
from multidiff.errors import InputError
from multidiff.modality import Modality
from multidiff.model import MODEL_GROUPS, build_model
from multidiff.pretrained import (
    Tuning,
    fuse,
    is_pipeline,
    open_pipeline,
    pipeline_hash,
    stack_hash,
    stack_of,
    stacked,
)
from multidiff.sampling import few_step
from multidiff.sampling.lineage import inherited, licence_head, told
from multidiff.sampling.pipeline import Pipeline
from multidiff.sampling.sampler_config import checked_sampler
from multidiff.weights import CONFIG, WEIGHTS, fill, find_model, no_larger_than, read_weights, write

__all__ = ["CONFIG", "WEIGHTS", "find_model", "load", "read_config", "save"]


def load(path: str | Path, device: str | None = None, lora: Mapping[str, float] | None = None) -> Pipeline:
    """A pipeline from a run directory, a model directory, a pretrained pipeline, or a bundled model.

    Args:
        path: of the directory, or the name of a bundled model, which a directory of that name goes before.
        device: such as ``cpu`` or ``cuda:1``; by default a GPU if there is one.
        lora: for a pretrained pipeline, files of LoRAs, each with its weight, which are fused in this order.

    Raises:
        InputError: the directory, its config or its weights are missing, damaged, or not of this model; or there is no
            such device.
    """
    if found := find_pipeline(Path(path).expanduser()):
        return _pretrained(found, _device(device), lora or {})
    if lora:
        raise InputError(
            f"a LoRA is for a pretrained pipeline, and {path} is none: no model_index.json, no .safetensors"
        )
    directory = find_model(Path(path).expanduser())
    config = read_config(directory)
    if is_codec(config):
        raise InputError(
            f"{directory}/ is a codec, which generates nothing by itself: train a diffusion model on its latents with "
            f"codec=learned codec.path={directory}"
        )
    weights = directory / WEIGHTS
    state, digest = read_weights(weights, config)
    if "tuning" in config:
        return _tuned(directory, config, digest, _device(device))
    try:
        modality = instantiate(Modality, config["modality"])
        data_shape = _data_shape(config)
        with no_larger_than(state, config):
            model = build_model(config, data_shape)
        shape = model.codec.shape(data_shape)
        sampler, guidance = checked_sampler(config["sampler"], "sampler"), float(config["guidance"])
        trained = few_step.trained_from(config.get("trained"))
    except InputError as error:
        raise InputError(f"{directory / CONFIG}: {error}") from error
    except Exception as error:  # whatever impossible settings make the parts of a model raise
        raise InputError(f"{directory / CONFIG} does not describe a model: {' '.join(str(error).split())}") from error
    fill(model, state, weights)
    model.to(_device(device))
    return Pipeline(model, modality, shape, sampler, guidance, digest, config["modality"], trained)


def _data_shape(config: Mapping[str, Any]) -> tuple[int, ...]:
    """The shape of a sample of the data.

    Raises:
        InputError: it is not one or more whole numbers above 0.
    """
    given = config["data_shape"]
    if not (isinstance(given, list) and given and all(type(size) is int and size > 0 for size in given)):
        raise InputError(f"data_shape is a list of whole numbers above 0, got {given!r}")
    return tuple(given)


def read_config(directory: Path) -> dict[str, Any]:
    """The config of a model directory, in which the path of a codec inside of the directory is the present one."""
    config = files.read_config(directory)
    if (directory / CODEC).is_dir() and isinstance(config.get("codec"), dict):
        config["codec"]["path"] = str((directory / CODEC).absolute())
    return config


def weights_hash(path: Path) -> str:
    """The hash of the model at ``path`` that plans record."""
    found = find_pipeline(path)
    return pipeline_hash(found) if found else sha256(find_model(path) / WEIGHTS)


def find_pipeline(path: Path) -> Path | None:
    """The pretrained pipeline at ``path``, or that in the run directory ``path``; None if there is none."""
    return next((place for place in (path, path / "model") if is_pipeline(place)), None)


def _device(name: str | None) -> str:
    """``name``, or a GPU if there is one."""
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # what torch raises where it was built without a kind of device
        raise InputError(f"the device {name!r} cannot be used: {str(error).partition(chr(10))[0]}") from error
    return name


def _pretrained(path: Path, device: str, lora: Mapping[str, float]) -> Pipeline:
    opened = open_pipeline(path, device)
    for file, weight in stacked(lora):
        fuse(opened.model, file, weight)
    stack, modality = stack_of(lora), instantiate(Modality, opened.modality_config)
    return Pipeline(
        opened.model,
        modality,
        opened.shape,
        opened.sampler,
        opened.guidance,
        stack_hash(pipeline_hash(path), stack),
        opened.modality_config,
        opened.trained,
        stack,
        pretrained=True,
    )


def _tuned(directory: Path, config: Mapping[str, Any], digest: str, device: str) -> Pipeline:
    """A pretrained pipeline with the LoRA in ``directory``, which was trained here, fused into its weights."""
    try:
        modality, tuning = instantiate(Modality, config["modality"]), instantiate(Tuning, config["tuning"])
        sampler, guidance = checked_sampler(config["sampler"], "sampler"), float(config["guidance"])
        opened = tuning.open(device)
        shape = opened.model.codec.shape(_data_shape(config))
    except InputError as error:
        elsewhere = f"with the pipeline elsewhere: multidiff sample PIPELINE --lora {directory / WEIGHTS}"
        raise InputError(f"{directory / CONFIG}: {error}; {elsewhere}") from error
    fuse(opened.model, directory / WEIGHTS)
    opened.model.denoiser = opened.model.denoiser.sized(shape)
    return Pipeline(
        opened.model,
        modality,
        shape,
        sampler,
        guidance,
        digest,
        config["modality"],
        opened.trained,
        pretrained=True,
    )


def save(
    pipeline: Pipeline,
    config: Mapping[str, Any],
    directory: Path,
    training: Mapping[str, Any],
    tuning: Tuning | None = None,
) -> None:
    """Write ``pipeline`` as a model directory, complete or not at all.

    Args:
        pipeline: its model holds the weights.
        config: has the groups in `MODEL_GROUPS`, and the objective of the training, fully resolved.
        directory: is replaced if it exists.
        training: facts about the training for the config and the card.
        tuning: of a pretrained pipeline, of which only what was trained is written.

    Raises:
        InputError: the weights cannot be written, for example because the disk is full; what was there stays.
    """
    description = {
        **{group: config[group] for group in (*MODEL_GROUPS, "objective", "log_snr_range") if group in config},
        "data_shape": list(pipeline.data_shape),
        "sampler": dict(pipeline.sampler),
        "guidance": pipeline.guidance,
        **few_step.record(pipeline.trained),
        "training": dict(training),
    }
    if tuning is None:
        write(pipeline.model, description, card(pipeline, description), directory)
    else:
        with atomic_directory(directory) as folder:
            tuning.write(pipeline.model, description, card(pipeline, description), folder)


def card(
    pipeline: Pipeline,
    description: Mapping[str, Any],
    name: str = "THIS_DIRECTORY",
    licence: str = "",
    about: str = "",
    library: str = "multidiff",
    usage: str = "",
) -> str:
    """The model card, in Markdown.

    Args:
        pipeline: of the model.
        description: its config.
        name: by which commands call the model.
        licence: identifier of a licence, such as ``cc-by-sa-4.0``; by default that of the model that it started from.
        about: paragraphs on the data, the training and the scores.
        library: that opens it.
        usage: Markdown on how it samples; by default, the command.
    """
    parameters = sum(parameter.numel() for parameter in pipeline.model.parameters())
    training = description["training"]
    facts = {
        "Modality": pipeline.modality.name,
        "Data shape": " x ".join(map(str, pipeline.data_shape)),
        "Parameters": f"{parameters:,}",
        "Conditions": pipeline.model.conditioner.describe(),
        "Default sampling": f"{description['sampler']['name']}, {description['sampler']['steps']} steps, "
        f"guidance {description['guidance']}",
        **{name.replace("_", " ").capitalize(): value for name, value in training.items()},
    }
    rows = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    head = licence_head(licence or inherited(training))
    return (
        f"---\n{head}library_name: {library}\ntags: [diffusion, {pipeline.modality.name}]\n---\n\n"
        f"# A diffusion model ({pipeline.modality.name})\n\nTrained with MultiDiff {version('multidiff-toolkit')}.\n\n"
        f"| | |\n| --- | --- |\n{rows}\n\n{told(training)}"
        + (f"{about.strip()}\n\n" if about else "")
        + (usage or f"```\nmultidiff sample {name} -n 16 --out samples\n```\n")
    )
