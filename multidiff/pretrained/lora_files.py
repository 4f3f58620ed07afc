"""The LoRA that trains in a model, in the layouts of diffusers and of kohya's scripts."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn, tensor

from multidiff.model import Model
from multidiff.pretrained.keys import unet_names
from multidiff.pretrained.networks import networks_of

_DOWN, _UP = ".lora_A.default.weight", ".lora_B.default.weight"
"""Ends of names of weights in PEFT, whose adapter is called ``default``."""


def lora_state(model: Model) -> dict[str, Tensor]:
    """The LoRA as diffusers saves it: ``unet.a.b.to_q.lora_A.weight``, ``...lora_B.weight``."""
    state: dict[str, Tensor] = {}
    for prefix, network in networks_of(model).items():
        for layer, down, up in _updates(network):
            state |= {f"{prefix}.{layer}.lora_A.weight": down, f"{prefix}.{layer}.lora_B.weight": up}
    return state


def lora_metadata(model: Model, settings: Mapping[str, Any]) -> dict[str, str]:
    """What diffusers reads from the metadata of a LoRA: the rank and the alpha of each network that has updates."""
    networks = [prefix for prefix, network in networks_of(model).items() if any(_updates(network))]
    each = {f"{prefix}.{name}": value for prefix in networks for name, value in settings.items()}
    return {"lora_adapter_metadata": json.dumps(each, sort_keys=True)}


def kohya_state(model: Model, alpha: float) -> dict[str, Tensor]:
    """The LoRA as kohya's scripts save it, which ComfyUI and A1111 read; empty for networks other than a U-Net.

    Layers of Stable Diffusion XL have the names of the original code: ``lora_unet_input_blocks_4_1_...``.
    """
    network = networks_of(model).get("unet")
    if network is None:
        return {}
    names = [name for name, _ in network.named_parameters()]
    known = unet_names(names) if model.conditioner.vector_dim else {name: name for name in names}
    state: dict[str, Tensor] = {}
    for layer, down, up in _updates(network):
        key = "lora_unet_" + known[layer + _DOWN].removesuffix(_DOWN).replace(".", "_")
        state |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": tensor(float(alpha))}
    return {name: value.detach().cpu().contiguous() for name, value in state.items()}


def kohya_metadata(rank: int, alpha: float) -> dict[str, str]:
    """What tools show of a LoRA of kohya's scripts."""
    return {"ss_network_module": "networks.lora", "ss_network_dim": str(rank), "ss_network_alpha": str(alpha)}


def _updates(network: nn.Module) -> Iterator[tuple[str, Tensor, Tensor]]:
    """The layers with an update, and its factors."""
    weights = dict(network.named_parameters())
    for name, down in weights.items():
        if name.endswith(_DOWN):
            layer = name.removesuffix(_DOWN)
            yield layer, down, weights[layer + _UP]
