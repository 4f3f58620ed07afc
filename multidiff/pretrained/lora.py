"""LoRA: low-rank updates of the weights of a pretrained pipeline. Hu et al. (2022), https://arxiv.org/abs/2106.09685.

============  =========================================================================
dialect       keys, for the layer ``a.b.to_q`` of the U-Net
============  =========================================================================
PEFT          ``base_model.model.a.b.to_q.lora_A.weight``, ``...lora_B.weight``
diffusers     ``unet.a.b.to_q.lora_A.weight`` or ``unet.a.b.to_q.lora.down.weight``
kohya         ``lora_unet_a_b_to_q.lora_down.weight``, and ``lora_te_...`` of encoders; for SDXL
              the names of the original code, ``lora_unet_input_blocks_4_1_...``
============  =========================================================================
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from multidiff.configuration import parse_json, read_json
from multidiff.errors import InputError, first_of
from multidiff.model import Model
from multidiff.pretrained.keys import unet_names
from multidiff.pretrained.lora_original import original_layers
from multidiff.pretrained.networks import networks_of
from multidiff.pretrained.tensor_file import TensorFile
from multidiff.pretrained.terminal import refuse_unmarked
from multidiff.pretrained.weights import PICKLES, refused_pickle

_ROLES = r"lora_A|lora_B|lora_down|lora_up|lora\.down|lora\.up|alpha"
_KEY = re.compile(rf"(?P<layer>.+?)\.(?P<role>{_ROLES})(\.default)?(\.weight)?")
_DOWN, _UP = ("lora_A", "lora_down", "lora.down"), ("lora_B", "lora_up", "lora.up")

SAVED = ("adapter_model.safetensors", "pytorch_lora_weights.safetensors", "model.safetensors")
"""What PEFT, diffusers and trainings here call a LoRA in its folder."""

SHOWN = 5
"""Keys that a message lists."""


@dataclass(frozen=True)
class Update:
    """A low-rank update of one weight: ``scale up down``."""

    down: Tensor
    up: Tensor
    scale: float

    def dense(self) -> Tensor:
        """The update as a matrix, or as the kernel of a convolution, in float64."""
        down, up = self.down.double(), self.up.double()
        return self.scale * (up.flatten(1) @ down.flatten(1)).reshape(len(up), *down.shape[1:])


class Fused:
    """Updates that were added to the weights of a model; `undo` gives the weights back, to the bit."""

    def __init__(self, layers: Mapping[str, nn.Module], updates: Mapping[str, Update], weight: float):
        self.layers = {name: layers[name] for name in updates}
        self.before = {name: _weight(layer).detach().clone() for name, layer in self.layers.items()}
        for name, update in updates.items():
            value = _weight(self.layers[name])
            dense = update.dense().to(value.device)
            value.data.copy_((value.double() + weight * dense).to(value.dtype))

    def undo(self) -> None:
        """Restore the weights; the last update that was added is undone first."""
        for name, layer in self.layers.items():
            _weight(layer).data.copy_(self.before[name])


def fuse(model: Model, path: Path, weight: float = 1.0) -> Fused:
    """Add the LoRA in the file or folder ``path``, times ``weight``, to the weights of ``model``.

    Raises:
        InputError: the file is missing, damaged or a pickle, a key of it matches no weight of the model, or it was
            trained with another prediction.
    """
    path = lora_file(path)
    layers, updates = dict(_layers(model)), _by_layer(model, read_lora(path))
    refuse_unmarked(model, path)
    names = {key: layer for layer in layers for key in _spellings(layer)} | _original_spellings(layers)
    unmatched = [key for key in updates if key not in names]
    if unmatched:
        keys = first_of(sorted(unmatched), SHOWN)
        count = f"{len(unmatched)} of its {len(updates)} layers"
        raise InputError(f"{path} is a LoRA for another model: {count} do not exist in this one: {keys}")
    found = {names[key]: update for key, update in updates.items()}
    for name, update in found.items():
        own, given = tuple(_weight(layers[name]).shape), _shape(update)
        if own != given:
            raise InputError(f"{path} is a LoRA for another model: {name} has the shape {own} here, and {given} there")
    return Fused(layers, found, weight)


def lora_file(path: Path) -> Path:
    """The file of a LoRA that is given by its file, or by the folder that PEFT, diffusers or a training here saved.

    Raises:
        InputError: the folder has no such file, or a pickle in its place.
    """
    if not path.is_dir():
        return path
    found = next((path / name for name in SAVED if (path / name).is_file()), None)
    if found is None:
        pickles = [(path / name).with_suffix(".bin") for name in SAVED if (path / name).with_suffix(".bin").is_file()]
        if pickles:
            raise refused_pickle(pickles[0])
        raise InputError(f"{path}/ holds no LoRA: it has none of {', '.join(SAVED)}; give the file itself")
    return found


def is_lora(path: Path) -> bool:
    """Whether a file has keys of a LoRA, which need not be one that is read.

    Raises:
        InputError: it is damaged.
    """
    return any("lora" in key and _KEY.fullmatch(key) for key in TensorFile(path))


def read_lora(path: Path) -> dict[str, Update]:
    """The updates in a file by layer, in the names of its dialect.

    Raises:
        InputError: the file is missing, damaged, a pickle or no LoRA.
    """
    if not path.is_file():
        raise InputError(f"there is no LoRA at {path}: give a .safetensors file")
    if path.suffix in PICKLES:
        raise refused_pickle(path)
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path} is damaged or truncated ({error}); copy it again from its source") from error
    parts: dict[str, dict[str, Tensor]] = {}
    unknown = []
    for key, tensor in state.items():
        match = _KEY.fullmatch(key)
        if match is None:
            unknown.append(key)
            continue
        role = match["role"]
        name = "down" if role in _DOWN else "up" if role in _UP else role
        parts.setdefault(match["layer"], {})[name] = tensor
    unknown += [layer for layer, part in parts.items() if not {"down", "up"} <= part.keys()]
    if unknown or not parts:
        keys = first_of(sorted(unknown), SHOWN) or "it is empty"
        count = f"{len(unknown)} keys are unknown"
        raise InputError(f"{path} is not a LoRA of PEFT, diffusers or kohya: {count}: {keys}")
    scales = _scales(path)
    return {layer: _update(path, layer, part, scales.get(layer.split(".")[0], 1.0)) for layer, part in parts.items()}


def _scales(path: Path) -> dict[str, float]:
    """``lora_alpha / r`` by first part of the keys, where PEFT wrote it beside the file or diffusers into it."""
    settings: dict[str, dict[str, Any]] = {}
    if (path.parent / "adapter_config.json").is_file():
        settings["base_model"] = read_json(path.parent / "adapter_config.json")
    with safe_open(path, "pt") as file:
        written = (file.metadata() or {}).get("lora_adapter_metadata")
    for key, value in (parse_json(written, str(path)) if written else {}).items():
        part, _, name = key.partition(".")
        settings.setdefault(part, {})[name] = value
    for part, each in settings.items():
        odd = [name for name in ("alpha_pattern", "rank_pattern", "use_rslora", "use_dora") if each.get(name)]
        if odd or not each.get("r"):
            raise InputError(f"{path}: the settings of {part} are not supported: {first_of(odd, SHOWN) or 'no rank r'}")
    return {part: float(each.get("lora_alpha", each["r"])) / each["r"] for part, each in settings.items()}


def _update(path: Path, layer: str, part: Mapping[str, Tensor], scale: float) -> Update:
    down, up, rank = part["down"], part["up"], len(part["down"])
    if up.shape[1:2] != (rank,) or (up.ndim > 2 and up.shape[2:] != (1,) * (up.ndim - 2)):
        raise InputError(f"{path}: {layer} has shapes of no low-rank update: {tuple(up.shape)} by {tuple(down.shape)}")
    return Update(down, up, float(part["alpha"]) / rank if "alpha" in part else scale)


def _by_layer(model: Model, updates: Mapping[str, Update]) -> dict[str, Update]:
    """Updates of layers of the original code of SD 3 and Flux as those of the layers here; others as they are."""
    found = dict(updates)
    for prefix, network in networks_of(model).items():
        for layer in original_layers(network):
            for key in found.keys() & set(layer.spellings):
                update = found.pop(key)
                ups = layer.split(update.up)
                found |= {f"{prefix}.{part}": replace(update, up=up) for part, up in zip(layer.parts, ups, strict=True)}
    return found


def _layers(model: Model) -> Iterator[tuple[str, nn.Module]]:
    """The linear and convolution layers of a pipeline, as diffusers names them."""
    for prefix, network in networks_of(model).items():
        for name, layer in network.named_modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                yield f"{prefix}.{name}", layer


def _spellings(layer: str) -> Iterator[str]:
    """The names of a layer in the dialects; encoders are called with and without ``text_model``."""
    prefix, name = layer.split(".", 1)
    number = prefix.removeprefix("text_encoder").removeprefix("_") or "1"
    for inner in {name, name.removeprefix("text_model."), f"text_model.{name.removeprefix('text_model.')}"}:
        yield f"{prefix}.{inner}"
        flat = inner.replace(".", "_")
        if prefix in ("unet", "transformer"):
            yield from (f"base_model.model.{inner}", f"lora_unet_{flat}")
        else:
            yield f"lora_te{number}_{flat}"
            if number == "1":
                yield f"lora_te_{flat}"


def _original_spellings(layers: Mapping[str, nn.Module]) -> dict[str, str]:
    """Kohya's names of the layers of a U-Net in the original code, as in its files for SDXL, and the layers."""
    weights = [f"{name.removeprefix('unet.')}.weight" for name in layers if name.startswith("unet.")]
    originals = unet_names(weights) if weights else {}
    return {
        f"lora_unet_{original.removesuffix('.weight').replace('.', '_')}": f"unet.{name.removesuffix('.weight')}"
        for name, original in originals.items()
    }


def _weight(layer: nn.Module) -> nn.Parameter:
    weight = layer.weight
    assert isinstance(weight, nn.Parameter)
    return weight


def _shape(update: Update) -> tuple[int, ...]:
    return (len(update.up), *update.down.shape[1:])
