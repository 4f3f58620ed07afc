"""The names of weights of SD 3 and Flux in their original code, and in diffusers.

Stability AI, https://github.com/Stability-AI/sd3-ref; Black Forest Labs, https://github.com/black-forest-labs/flux.
"""

import re
from collections.abc import Collection, Iterable, Mapping

_SD3 = {
    "pos_embed.pos_embed": "pos_embed",
    "pos_embed.proj": "x_embedder.proj",
    "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
    "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0",
    "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
    "norm_out.linear": "final_layer.adaLN_modulation.1",
    "proj_out": "final_layer.linear",
}
_SD3_BLOCK = {
    "norm1.linear": "x_block.adaLN_modulation.1",
    "norm1_context.linear": "context_block.adaLN_modulation.1",
    **{f"attn.to_{role}": "x_block.attn.qkv" for role in "qkv"},
    **{f"attn.add_{role}_proj": "context_block.attn.qkv" for role in "qkv"},
    **{f"attn2.to_{role}": "x_block.attn2.qkv" for role in "qkv"},
    **{f"attn.norm_{role}": f"x_block.attn.ln_{role}" for role in "qk"},
    **{f"attn.norm_added_{role}": f"context_block.attn.ln_{role}" for role in "qk"},
    **{f"attn2.norm_{role}": f"x_block.attn2.ln_{role}" for role in "qk"},
    "attn.to_out.0": "x_block.attn.proj",
    "attn.to_add_out": "context_block.attn.proj",
    "attn2.to_out.0": "x_block.attn2.proj",
    "ff.net.0.proj": "x_block.mlp.fc1",
    "ff.net.2": "x_block.mlp.fc2",
    "ff_context.net.0.proj": "context_block.mlp.fc1",
    "ff_context.net.2": "context_block.mlp.fc2",
}
_FLUX = {
    **{
        f"time_text_embed.{here}_embedder.linear_{number}": f"{there}_in.{layer}_layer"
        for here, there in {"timestep": "time", "text": "vector", "guidance": "guidance"}.items()
        for number, layer in {1: "in", 2: "out"}.items()
    },
    "context_embedder": "txt_in",
    "x_embedder": "img_in",
    "norm_out.linear": "final_layer.adaLN_modulation.1",
    "proj_out": "final_layer.linear",
}
_FLUX_BLOCK = {
    "norm1.linear": "img_mod.lin",
    "norm1_context.linear": "txt_mod.lin",
    **{f"attn.to_{role}": "img_attn.qkv" for role in "qkv"},
    **{f"attn.add_{role}_proj": "txt_attn.qkv" for role in "qkv"},
    "attn.norm_q.weight": "img_attn.norm.query_norm.scale",
    "attn.norm_k.weight": "img_attn.norm.key_norm.scale",
    "attn.norm_added_q.weight": "txt_attn.norm.query_norm.scale",
    "attn.norm_added_k.weight": "txt_attn.norm.key_norm.scale",
    "attn.to_out.0": "img_attn.proj",
    "attn.to_add_out": "txt_attn.proj",
    "ff.net.0.proj": "img_mlp.0",
    "ff.net.2": "img_mlp.2",
    "ff_context.net.0.proj": "txt_mlp.0",
    "ff_context.net.2": "txt_mlp.2",
}
_FLUX_SINGLE = {
    "norm.linear": "modulation.lin",
    **{f"attn.to_{role}": "linear1" for role in "qkv"},
    "proj_mlp": "linear1",
    "attn.norm_q.weight": "norm.query_norm.scale",
    "attn.norm_k.weight": "norm.key_norm.scale",
    "proj_out": "linear2",
}

_BLOCK = re.compile(r"(transformer_blocks|single_transformer_blocks)\.(\d+)\.(.+)")

_CONTEXT = re.compile(r"(joint_blocks\.\d+\.context_block)\.adaLN_modulation\.1\.\w+")


def sd3_names(names: Iterable[str]) -> dict[str, str]:
    """Of `SD3Transformer2DModel`."""
    return {name: _original(name, _SD3, {"transformer_blocks": ("joint_blocks", _SD3_BLOCK)}) for name in names}


def flux_names(names: Iterable[str]) -> dict[str, str]:
    """Of `FluxTransformer2DModel`."""
    blocks = {
        "transformer_blocks": ("double_blocks", _FLUX_BLOCK),
        "single_transformer_blocks": ("single_blocks", _FLUX_SINGLE),
    }
    return {name: _original(name, _FLUX, blocks) for name in names}


def with_swapped_halves(originals: Collection[str]) -> set[str]:
    """Of all original names of a network, those of weights whose halves, shift and scale, diffusers swaps.

    They are the norms that have no gate: the last of a network, and that of the texts in the last block of SD 3, which
    has no further layers for them.
    """
    final = {name for name in originals if name.startswith("final_layer.adaLN_modulation.")}
    contexts = {name: match[1] for name in originals if (match := _CONTEXT.fullmatch(name))}
    return final | {name for name, block in contexts.items() if f"{block}.mlp.fc1.weight" not in originals}


def _original(name: str, whole: Mapping[str, str], blocks: Mapping[str, tuple[str, Mapping[str, str]]]) -> str:
    """The original name of a weight: of a layer of the ``whole`` network, or of one in its ``blocks``."""
    match = _BLOCK.fullmatch(name)
    if match is None:
        return _looked_up(name, whole)
    called, layers = blocks[match[1]]
    return f"{called}.{match[2]}.{_looked_up(match[3], layers)}"


def _looked_up(name: str, table: Mapping[str, str]) -> str:
    """The entry for a weight, or for its layer, to which ``weight`` or ``bias`` is added."""
    layer, _, kind = name.rpartition(".")
    return table.get(name) or (f"{table[layer]}.{kind}" if layer in table else name)
