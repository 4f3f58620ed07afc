"""A trained autoencoder on disk: a directory like that of a diffusion model.

DIR/    model.safetensors (EMA weights)  config.yaml  README.md
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from multidiff.bundled import bundled, located
from multidiff.codecs.autoencoder import Autoencoder
from multidiff.configuration import instantiate
from multidiff.data.cache import default_cache
from multidiff.errors import InputError
from multidiff.weights import CONFIG, WEIGHTS, fill, find_model, no_larger_than, read_config, read_weights, write

CODEC = "codec"
"""The directory of a codec, within that of a model that holds it."""

GROUPS = ("modality", "autoencoder")
"""The config groups that a trained autoencoder is made of."""


@dataclass(frozen=True)
class Trained:
    """An autoencoder that was trained.

    Attributes:
        network: with its weights, on the CPU.
        config: of its directory.
        sha256: of its weights and of the config groups that it is made of.
    """

    network: Autoencoder
    config: Mapping[str, Any]
    sha256: str

    def __deepcopy__(self, memo: dict[int, Any]) -> "Trained":
        return self  # the moving average of a model shares it


def is_codec(config: Mapping[str, Any]) -> bool:
    """Whether the config of a model directory is that of an autoencoder."""
    return "autoencoder" in config


def find_codec(path: str | Path, sha256: str | None = None) -> Path:
    """The directory of a codec.

    Args:
        path: of it, of its run, or of a model that holds it, such as a bundled one, which its name stands for.
        sha256: of the codec. Where ``path`` is gone, it is the one of that name in the folder ``weights`` of the cache,
            or that of a bundled model with this hash.

    Raises:
        InputError: there is none.
    """
    given = located(Path(path).expanduser())
    kept = default_cache() / "weights" / given.name
    for folder in (given, kept):
        if folder.is_dir():
            return folder / CODEC if (folder / CODEC).is_dir() else find_model(folder)
    held = (model / CODEC for model in bundled().values() if (model / CODEC).is_dir())
    if found := next((folder for folder in held if codec_hash(folder) == sha256), None):
        return found
    raise InputError(
        f"there is no codec at {given}: codec.path is a directory that `multidiff train experiment=codec/...` wrote, "
        f"which may also be at {kept}"
    )


def codec_hash(directory: Path) -> str:
    """The hash of the weights and of the config groups of the codec in ``directory``.

    Raises:
        InputError: it is no codec.
    """
    config = _config_of(directory)
    parts = [config.get("weights_sha256"), {group: config[group] for group in GROUPS}]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def load_codec(directory: Path, sha256: str) -> Trained:
    """The autoencoder in ``directory``; it is shared by all that load it.

    Args:
        directory: of the codec.
        sha256: that it must have, as `codec_hash` returns it.

    Raises:
        InputError: it is missing, damaged, no codec, or has another hash.
    """
    found = codec_hash(directory)
    if sha256 != found:
        raise InputError(
            f"the codec {directory}/ has the hash {found[:12]}, and {sha256[:12]} is expected: put that codec "
            "there, or change codec.path"
        )
    return _loaded(directory, sha256)


@lru_cache(4)
def _loaded(directory: Path, sha256: str) -> Trained:
    config = _config_of(directory)
    state, _ = read_weights(directory / WEIGHTS, config)
    try:
        with no_larger_than(state, config), torch.random.fork_rng(devices=[]):
            network = instantiate(Autoencoder, config["autoencoder"])
    except InputError as error:
        raise InputError(f"{directory / CONFIG}: {error}") from error
    except Exception as error:  # whatever impossible settings make the parts of a network raise
        raise InputError(f"{directory / CONFIG} does not describe a codec: {' '.join(str(error).split())}") from error
    fill(network, state, directory / WEIGHTS)
    return Trained(network.eval().requires_grad_(False), config, sha256)


def save_codec(
    network: Autoencoder,
    settings: Mapping[str, Any],
    data_shape: tuple[int, ...],
    directory: Path,
    training: Mapping[str, Any],
) -> None:
    """Write an autoencoder as a directory, complete or not at all.

    Args:
        network: holds the weights.
        settings: has the groups in `GROUPS`, fully resolved.
        data_shape: of the data, ``(C, *size)``.
        directory: is replaced if it exists.
        training: facts about the training for the config and the card.
    """
    groups = {group: settings[group] for group in GROUPS}
    description = {**groups, "data_shape": list(data_shape), "training": dict(training)}
    card = _card(network, data_shape, training, settings.get("latent_experiment") or "NAME")
    write(network, description, card, directory)


def _config_of(directory: Path) -> dict[str, Any]:
    config = read_config(directory)
    if not is_codec(config):
        raise InputError(f"{directory}/ is no codec: `multidiff train experiment=codec/...` trains one")
    if not isinstance(config.get("modality"), dict):
        raise InputError(f"{directory / CONFIG} lacks the modality of its data")
    return config


def _card(network: Autoencoder, data_shape: tuple[int, ...], training: Mapping[str, Any], experiment: str) -> str:
    parameters = sum(parameter.numel() for parameter in network.parameters())
    facts = {
        "Data shape": " x ".join(map(str, data_shape)),
        "Latent shape": " x ".join(map(str, network.shape(data_shape))),
        "Parameters": f"{parameters:,}",
        **{name.replace("_", " ").capitalize(): value for name, value in training.items()},
    }
    rows = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    return (
        "---\nlibrary_name: multidiff\ntags: [autoencoder]\n---\n\n# A learned codec\n\n"
        f"| | |\n| --- | --- |\n{rows}\n\n"
        f"```\nmultidiff train experiment={experiment} codec=learned codec.path=THIS_DIRECTORY\n```\n"
    )
