"""The LoRA that trains in a model, in the layouts of diffusers and of kohya's scripts."""

import json
from collections.abc import Iterator, Sequence
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
    """The LoRA as kohya's scripts save it, which ComfyUI and A1111 read; empty for networks other than a U-Net.

    Layers of Stable Diffusion XL have the names of the original code, ``lora_unet_input_blocks_4_1_...``, and its text
    encoders are ``te1`` and ``te2``.
    """
    networks = networks_of(model)
    if "unet" not in networks:
        return {}
    xl = model.conditioner.vector_dim > 0
    weights = [name for name, _ in networks["unet"].named_parameters()]
    original = unet_names(weights) if xl else {}
    short = {"unet": "unet", "text_encoder": "te1" if xl else "te", "text_encoder_2": "te2"}
    state: dict[str, Tensor] = {}
    for prefix in short.keys() & networks.keys():
        for layer, down, up in _updates(prefix, networks[prefix]):
            name = original.get(layer + _DOWN, layer).removesuffix(_DOWN).replace(".", "_")
            key = f"lora_{short[prefix]}_{name}"
            state |= {
                f"{key}.lora_down.weight": down,
                f"{key}.lora_up.weight": up,
                f"{key}.alpha": tensor(float(alpha)),
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
