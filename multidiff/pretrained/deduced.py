"""Configs of networks that their weights tell: the architecture of a single file says only what they do not."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

Shapes = Mapping[str, torch.Size]
"""Of the weights of a network, by original names without prefix."""

ABSENT = torch.Size((1, 1, 1, 1))
"""Of a weight that is not there, which is an error later."""


def deduced_config(rule: str, config: Mapping[str, Any], shapes: Shapes) -> dict[str, Any]:
    """The config of a network with weights of ``shapes``.

    Args:
        rule: name of the rule for its keys.
        config: of its architecture, for what the weights do not tell.
        shapes: of its weights.
    """
    found = _DEDUCED[rule](config, shapes) if rule in _DEDUCED else {}
    return {**config, **found}


def _unet(_: Mapping[str, Any], shapes: Shapes) -> dict[str, Any]:
    """Nine channels are those of a network for inpainting."""
    first = shapes.get("input_blocks.0.0.weight")
    return {} if first is None else {"in_channels": first[1]}


def _sd3(config: Mapping[str, Any], shapes: Shapes) -> dict[str, Any]:
    width, channels, patch, _ = _shape(shapes, "x_embedder.proj.weight")
    texts, pooled = _shape(shapes, "context_embedder.weight"), _shape(shapes, "y_embedder.mlp.0.weight")
    norm = shapes.get("joint_blocks.0.x_block.attn.ln_q.weight")
    head = config["attention_head_dim"] if norm is None else norm[0]
    second = {int(name.split(".")[1]) for name in shapes if name.startswith("joint_blocks.") and ".attn2." in name}
    return {
        "in_channels": channels,
        "out_channels": _shape(shapes, "final_layer.linear.weight")[0] // patch**2,
        "patch_size": patch,
        "num_layers": _blocks(shapes, "joint_blocks"),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "caption_projection_dim": texts[0],
        "joint_attention_dim": texts[1],
        "pooled_projection_dim": pooled[1],
        "pos_embed_max_size": math.isqrt(_shape(shapes, "pos_embed")[1]),
        "dual_attention_layers": tuple(sorted(second)),
        "qk_norm": None if norm is None else "rms_norm",
    }


def _flux(config: Mapping[str, Any], shapes: Shapes) -> dict[str, Any]:
    width, channels = _shape(shapes, "img_in.weight")[:2]
    norm = shapes.get("double_blocks.0.img_attn.norm.query_norm.scale")
    head = config["attention_head_dim"] if norm is None else norm[0]
    return {
        "in_channels": channels,
        "out_channels": _shape(shapes, "final_layer.linear.weight")[0],
        "num_layers": _blocks(shapes, "double_blocks"),
        "num_single_layers": _blocks(shapes, "single_blocks"),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": _shape(shapes, "txt_in.weight")[1],
        "pooled_projection_dim": _shape(shapes, "vector_in.in_layer.weight")[1],
        "guidance_embeds": "guidance_in.in_layer.weight" in shapes,
    }


_DEDUCED: dict[str, Callable[[Mapping[str, Any], Shapes], dict[str, Any]]] = {"unet": _unet, "sd3": _sd3, "flux": _flux}


def _shape(shapes: Shapes, name: str) -> torch.Size:
    return shapes.get(name, ABSENT)


def _blocks(shapes: Shapes, kind: str) -> int:
    """Number of blocks whose names begin with ``kind``."""
    return 1 + max((int(name.split(".")[1]) for name in shapes if name.startswith(f"{kind}.")), default=-1)
