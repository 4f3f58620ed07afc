"""Directories with the weights of a network and the config that rebuilds it.

DIR/    model.safetensors  config.yaml  README.md
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import version
from pathlib import Path
from threading import get_ident
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from multidiff.bundled import bundled, located
from multidiff.configuration import read_yaml
from multidiff.configuration.build import TARGET
from multidiff.data.files import atomic_directory, sha256, surviving
from multidiff.errors import InputError
from multidiff.nn.frozen import is_loading_frozen

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.yaml", "README.md"
FORMAT = 2
HALF = "float16"
"""Value of ``stored`` in the config of weights that were rounded to half precision. They compute in float32."""

SPARE = 2**20
"""Weights that a model may have beyond those that its file leads to expect, while it is built."""

LOWEST = "lowest_loss"
"""Folder of a run with the model of the lowest validation loss so far."""

CHOSEN = {
    LOWEST: "no validation yet, or its losses are not comparable",
    "best": "no evaluation that chooses a model yet",
}
"""Folders of a run with the model that did best so far, and why there may be none."""

READERS = {1: "0.1"}
"""Versions of multidiff-toolkit that read model directories of older formats."""

_counting: ContextVar[object] = ContextVar("counting", default=None)
"""The innermost limit: a network that is loaded while another one is built counts for itself."""


def write(network: nn.Module, description: Mapping[str, Any], card: str, directory: Path) -> None:
    """Write the weights of ``network`` and the config that rebuilds it into ``directory``, complete or not at all.

    Args:
        network: its state is written.
        description: plain values; the format, the version and the hash of the weights are added.
        card: Markdown.
        directory: is replaced if it exists.

    Raises:
        InputError: the weights cannot be written, for example because the disk is full; what was there stays.
    """
    with atomic_directory(directory) as temporary:
        write_into(temporary, network.state_dict(), description, card)


def write_into(
    folder: Path,
    state: Mapping[str, Tensor],
    description: Mapping[str, Any],
    card: str,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """`write`, of the state of a network, into a ``folder`` that exists, with ``metadata`` in the file of weights."""
    try:
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()},
            folder / WEIGHTS,
            metadata={"format": "pt", **(metadata or {})},
        )
    except SafetensorError as error:
        raise InputError(f"{WEIGHTS} cannot be written into {folder.parent}: {error}") from error
    whole = {
        "format": FORMAT,
        "multidiff": version("multidiff-toolkit"),
        **description,
        "weights_sha256": sha256(folder / WEIGHTS),
    }
    (folder / CONFIG).write_text(yaml.safe_dump(whole, sort_keys=False, allow_unicode=True), "utf-8")
    (folder / CARD).write_text(card, "utf-8")


def fill(network: nn.Module, state: Mapping[str, Tensor], weights: Path) -> None:
    """Load ``state``, from the file ``weights``, into ``network``.

    Raises:
        InputError: it belongs to another network.
    """
    own = {name: (tensor.shape, tensor.dtype) for name, tensor in network.state_dict().items()}
    if own != {name: (tensor.shape, tensor.dtype) for name, tensor in state.items()}:
        raise InputError(f"{weights} holds the weights of another model than {CONFIG} describes")
    network.load_state_dict(state)


def find_model(path: Path) -> Path:
    """The model directory that ``path`` stands for: a run directory, a model directory, or a bundled model.

    A name is that of a bundled model where nothing is at the path of that name.

    Raises:
        InputError: there is no model.
    """
    path = located(path)
    for directory in (surviving(path), surviving(path / "model")):
        if (directory / CONFIG).is_file() and (directory / WEIGHTS).exists():
            return directory
    if (path / "model").is_dir():
        path = path / "model"
    if not path.exists() and path.name in CHOSEN and (path.parent / "model" / CONFIG).is_file():
        raise InputError(f"there is no model at {path}: this run has had {CHOSEN[path.name]}; use {path.parent}")
    if not path.exists():
        known = f"; bundled models: {', '.join(bundled())}" if bundled() else ""
        raise InputError(f"there is no model at {path}: no such directory{known}")
    missing = [name for name in (CONFIG, WEIGHTS) if not (path / name).exists()]
    way = "rename it to use the bundled model" if str(path) in bundled() else "give a run or a model directory"
    raise InputError(f"there is no model at {path}: {' and '.join(missing)} missing; {way}")


def read_config(directory: Path) -> dict[str, Any]:
    """The config of a model directory."""
    path = directory / CONFIG
    config = read_yaml(path)
    if not isinstance(config, dict) or "format" not in config:
        raise InputError(f"{path} is not a model's config; `multidiff train` writes one")
    if config["format"] != FORMAT:
        reader = next((version for known, version in READERS.items() if known == config["format"]), None)
        way = (
            f"install multidiff-toolkit {reader} to use it" if reader else "install a newer multidiff-toolkit to use it"
        )
        raise InputError(f"{path} has format {config['format']}, and this version reads format {FORMAT}: {way}")
    return config


def read_weights(path: Path, config: Mapping[str, Any]) -> tuple[dict[str, Tensor], str]:
    """The weights in a file, and its SHA-256.

    Args:
        path: of the file.
        config: of its directory. It may record the SHA-256, and that the weights are stored in half precision: they
            are then returned in float32.

    Raises:
        InputError: the file is missing, damaged, or holds a value that is not finite.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing or not a file; a model directory holds {WEIGHTS} and {CONFIG}")
    digest = sha256(path)
    if config.get("weights_sha256") not in (None, digest):
        raise InputError(f"{path} is damaged: its SHA-256 is not the one in {CONFIG}; copy it again from its source")
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path} is damaged or truncated ({error}); copy it again from its source") from error
    unfit = next((name for name, tensor in state.items() if not torch.isfinite(tensor).all()), None)
    if unfit:
        raise InputError(f"{path}: {unfit} has a weight that is not finite")
    if config.get("stored") == HALF:
        state = {name: tensor.float() if tensor.dtype == torch.half else tensor for name, tensor in state.items()}
    return state, digest


@contextmanager
def no_larger_than(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> Iterator[None]:
    """Refuse a model of far more weights than ``state`` while it is built, before they take memory.

    Frozen parts of MultiDiff are in files of their own. Those of plug-ins are not known: such models are not limited.

    Raises:
        InputError: it has more.
    """
    left, thread = 2 * sum(tensor.numel() for tensor in state.values()) + SPARE, get_ident()
    token = _counting.set(mine := object())

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal left
        if parameter is not None and get_ident() == thread and _counting.get() is mine and not is_loading_frozen():
            left -= parameter.numel()
        if left < 0:
            raise InputError("the model has more weights than its file holds")

    foreign = any(not target.startswith(("multidiff.", "modalities.")) for target in _targets(config))
    counting = None if foreign else register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        _counting.reset(token)
        if counting:
            counting.remove()


def _targets(config: Any) -> Iterator[str]:
    """Every class that a config names."""
    if isinstance(config, Mapping) and TARGET in config:
        yield str(config[TARGET])
    for part in config.values() if isinstance(config, Mapping) else config if isinstance(config, list) else ():
        yield from _targets(part)
