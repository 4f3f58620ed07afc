"""The LoRA that trains in a model, in the layouts of diffusers and of kohya's scripts."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn, tensor

from multidiff.model import Model
from multidiff.pretrained.keys import unet_names
from multidiff.pretrained.lora_original import original_layers
from multidiff.pretrained.networks import networks_of

_DOWN, _UP = ".lora_A.default.weight", ".lora_B.default.weight"
"""Ends of names of weights in PEFT, whose adapter is called ``default``."""


def lora_state(model: Model) -> dict[str, Tensor]:
    """The LoRA as diffusers saves it: ``unet.a.b.to_q.lora_A.weight``, ``...lora_B.weight``."""
    state: dict[str, Tensor] = {}
    for prefix, network in networks_of(model).items():
        for layer, down, up in _updates(prefix, network):
            state |= {f"{prefix}.{layer}.lora_A.weight": down, f"{prefix}.{layer}.lora_B.weight": up}
    return state


def lora_metadata(
    model: Model, rank: int, alpha: float, targets: Sequence[str], text_targets: Sequence[str]
) -> dict[str, str]:
    """What diffusers reads from the metadata of a LoRA, of each network that has updates."""
    settings: dict[str, Any] = {}
    for prefix, network in networks_of(model).items():
        if any(_updates(prefix, network)):
            ends = text_targets if prefix.startswith("text_encoder") else targets
            own = {"r": rank, "lora_alpha": alpha, "target_modules": list(ends)}
            settings |= {f"{prefix}.{name}": value for name, value in own.items()}
    return {"lora_adapter_metadata": json.dumps(settings, sort_keys=True)}


def kohya_state(model: Model, alpha: float) -> dict[str, Tensor]:
    """The LoRA as kohya's scripts save it, which ComfyUI and A1111 read.

    Layers of Stable Diffusion XL, SD 3 and Flux have the names of the original code, such as
    ``lora_unet_input_blocks_4_1_...``, and their text encoders are ``te1`` and ``te2``.
    """
    networks = networks_of(model)
    first = "unet" in networks and model.conditioner.vector_dim == 0  # Stable Diffusion 1 and 2
    state: dict[str, Tensor] = {}
    for prefix, network in networks.items():
        own = _updates(prefix, network) if first or prefix.startswith("text") else _original_updates(prefix, network)
        number = prefix.removeprefix("text_encoder").removeprefix("_") or "1"
        start = f"te{'' if first else number}" if prefix.startswith("text") else "unet"
        for layer, down, up in own:
            key, ranks = f"lora_{start}_{layer.replace('.', '_')}", len(down) / _rank(network)
            state |= {
                f"{key}.lora_down.weight": down,
                f"{key}.lora_up.weight": up,
                f"{key}.alpha": tensor(alpha * ranks),
            }
    return {name: value.detach().cpu().contiguous() for name, value in state.items()}


def kohya_metadata(rank: int, alpha: float) -> dict[str, str]:
    """What tools show of a LoRA of kohya's scripts."""
    return {"ss_network_module": "networks.lora", "ss_network_dim": str(rank), "ss_network_alpha": str(alpha)}


def _updates(prefix: str, network: nn.Module) -> Iterator[tuple[str, Tensor, Tensor]]:
    """The layers with an update, and its factors; those of text encoders are called ``text_model...`` as everywhere."""
    weights = dict(network.named_parameters())
    for name, down in weights.items():
        if name.endswith(_DOWN):
            layer = name.removesuffix(_DOWN)
            called = f"text_model.{layer.removeprefix('text_model.')}" if prefix.startswith("text_encoder") else layer
            yield called, down, weights[layer + _UP]


def _original_updates(prefix: str, network: nn.Module) -> Iterator[tuple[str, Tensor, Tensor]]:
    """The layers of the original code with an update; one that is several layers here has their ranks together."""
    updates = {layer: (down, up) for layer, down, up in _updates(prefix, network)}
    if prefix == "unet":
        names = unet_names(name for name, _ in network.named_parameters())
        yield from ((names[layer + _DOWN].removesuffix(_DOWN), *factors) for layer, factors in updates.items())
        return
    for layer in original_layers(network):
        if not updates.keys().isdisjoint(layer.parts):
            yield layer.name, *layer.joined(updates)


def _rank(network: nn.Module) -> int:
    """The rank of the update of each layer."""
    return next(len(down) for name, down in network.named_parameters() if name.endswith(_DOWN))
