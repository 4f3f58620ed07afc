"""A trained model on disk: weights, the config that rebuilds it, and a card that says what it is.

model/    model.safetensors (EMA weights)  config.yaml  README.md
"""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from multidiff.configuration import instantiate
from multidiff.data.files import atomic_directory, surviving
from multidiff.errors import InputError
from multidiff.model import MODEL_GROUPS, build_model
from multidiff.sampling.pipeline import Pipeline
from multidiff.sampling.plan import Sampling

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.yaml", "README.md"
FORMAT = 1


def load(path: str | Path, device: str | None = None) -> Pipeline:
    """A pipeline from a run directory or a model directory.

    Args:
        path: of the directory.
        device: such as ``cpu`` or ``cuda:1``; by default a GPU if there is one.

    Raises:
        InputError: the directory, its config or its weights are missing, damaged, or not of this model.
    """
    directory = find_model(Path(path))
    config = read_config(directory)
    try:
        modality = instantiate(config["modality"])
        model = build_model(config, modality)
        pipeline = Pipeline(model, modality, config["shape"], Sampling(config["sampler"], config["guidance"]))
    except (KeyError, TypeError) as error:
        raise InputError(f"{directory / CONFIG} is not a model's config: {error}") from error
    weights = directory / WEIGHTS
    try:
        state = load_file(weights)
    except FileNotFoundError as error:
        raise InputError(f"{weights} is missing; a model directory holds {WEIGHTS} and {CONFIG}") from error
    except SafetensorError as error:
        raise InputError(f"{weights} is damaged or truncated ({error}); copy it again from its source") from error
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f"{weights} holds the weights of another model than {CONFIG} describes") from error
    model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return pipeline


def save(pipeline: Pipeline, config: Mapping[str, Any], directory: Path, training: Mapping[str, Any]) -> None:
    """Write ``pipeline`` as a model directory, whole or not at all.

    Args:
        pipeline: its model holds the weights.
        config: has the groups in `MODEL_GROUPS`, fully resolved.
        directory: is replaced if it exists.
        training: facts about the training that the config and the card should state.

    Raises:
        InputError: the weights cannot be written, for want of space perhaps; what was there stays.
    """
    description = {
        "format": FORMAT,
        "multidiff": version("multidiff-toolkit"),
        **{group: config[group] for group in MODEL_GROUPS},
        "shape": list(pipeline.shape),
        "sampler": dict(pipeline.sampling.sampler),
        "guidance": pipeline.sampling.guidance,
        "training": dict(training),
    }
    with atomic_directory(directory) as temporary:
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in pipeline.model.state_dict().items()}
        try:
            save_file(state, temporary / WEIGHTS, metadata={"format": "pt"})
        except SafetensorError as error:
            raise InputError(f"{directory / WEIGHTS} cannot be written: {error}") from error
        (temporary / CONFIG).write_text(yaml.safe_dump(description, sort_keys=False, allow_unicode=True))
        (temporary / CARD).write_text(_card(pipeline, description))


def find_model(path: Path) -> Path:
    """The model directory that ``path``, a run directory or a model directory, stands for."""
    for directory in (surviving(path), surviving(path / "model")):
        if (directory / CONFIG).is_file() and (directory / WEIGHTS).exists():
            return directory
    if (path / "model").is_dir():
        path = path / "model"
    if not path.exists():
        raise InputError(f"there is no model at {path}: no such directory")
    missing = [name for name in (CONFIG, WEIGHTS) if not (path / name).exists()]
    raise InputError(f"there is no model at {path}: {' and '.join(missing)} missing; give a run or a model directory")


def read_config(directory: Path) -> dict[str, Any]:
    """The config of a model directory."""
    path = directory / CONFIG
    try:
        config = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(config, dict) or "format" not in config:
        raise InputError(f"{path} is not a model's config; `multidiff train` writes one")
    if config["format"] != FORMAT:
        raise InputError(f"{path} has format {config['format']}; this version of multidiff reads format {FORMAT}")
    return config


def _card(pipeline: Pipeline, description: Mapping[str, Any]) -> str:
    conditioner = pipeline.model.conditioner
    asks = {
        "label": "by label: " + ", ".join(conditioner.vocabulary),
        "caption": f"by prompt, in {len(conditioner.vocabulary)} words",
        None: "none",
    }
    parameters = sum(parameter.numel() for parameter in pipeline.model.parameters())
    facts = {
        "Modality": pipeline.modality.name,
        "Sample shape": " x ".join(map(str, pipeline.shape)),
        "Parameters": f"{parameters:,}",
        "Condition": asks[conditioner.reads],
        "Default sampling": f"{description['sampler']['name']}, {description['sampler']['steps']} steps, "
        f"guidance {description['guidance']}",
        **{name.replace("_", " ").capitalize(): value for name, value in description["training"].items()},
    }
    rows = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    return (
        f"---\nlibrary_name: multidiff\ntags: [diffusion, {pipeline.modality.name}]\n---\n\n"
        f"# A diffusion model of {pipeline.modality.name}s\n\nMade by MultiDiff {description['multidiff']}.\n\n"
        f"| | |\n| --- | --- |\n{rows}\n\n"
        "```\nmultidiff sample THIS_DIRECTORY -n 16 --out samples\n```\n"
    )
