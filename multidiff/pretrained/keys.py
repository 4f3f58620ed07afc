"""The names of weights in the original code of Stable Diffusion, and in diffusers and transformers; both ways.

Rombach et al. (2022), https://github.com/CompVis/stable-diffusion; OpenCLIP, https://github.com/mlfoundations/open_clip.
A rule gives the original name of each weight here. In OpenCLIP the queries, keys and values of a layer are one weight:
three weights here have the same original name.
"""

import re
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

Rule = Callable[[Iterable[str]], dict[str, str]]
"""From the names of a network's weights to their original names, without prefix."""

_UNET = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.attentions.0": "middle_block.1",
}
_RESIDUAL = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_VAE = {
    "conv_norm_out": "norm_out",
    "mid_block.attentions.0.group_norm": "mid.attn_1.norm",
    "mid_block.attentions.0.to_q": "mid.attn_1.q",
    "mid_block.attentions.0.to_k": "mid.attn_1.k",
    "mid_block.attentions.0.to_v": "mid.attn_1.v",
    "mid_block.attentions.0.to_out.0": "mid.attn_1.proj_out",
    "conv_shortcut": "nin_shortcut",
}
_OPEN_CLIP = {
    "embeddings.position_embedding.weight": "positional_embedding",
    "embeddings.token_embedding": "token_embedding",
    "final_layer_norm": "ln_final",
    "text_projection.weight": "text_projection",
    "encoder.layers": "transformer.resblocks",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}

_WAS_CONVOLUTION = re.compile(r"mid\.attn_1\.(q|k|v|proj_out)\.weight")
"""Linear layers here that were convolutions of one position."""

_FUSED = re.compile(r"(?P<layer>.*)\.self_attn\.(?P<role>[qkv])_proj\.(?P<kind>weight|bias)")


def unet_names(names: Iterable[str]) -> dict[str, str]:
    """Of `UNet2DConditionModel`."""
    names = list(names)
    layers = 1 + max(int(name.split(".")[3]) for name in names if name.startswith("down_blocks.0.resnets."))

    def original(name: str) -> str:
        match = re.fullmatch(
            r"(down|up|mid)_blocks?\.(?:(\d+)\.)?(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)", name
        )
        if match is None:
            return _renamed(name, _UNET)
        side, rest = match[1], match[5]
        block, kind, layer = int(match[2] or 0), match[3], int(match[4])
        inner = _renamed(rest, _RESIDUAL) if kind == "resnets" else rest
        if side == "mid":
            return f"middle_block.{2 * layer if kind == 'resnets' else 1}.{inner}"
        if kind == "downsamplers":
            return f"input_blocks.{(block + 1) * (layers + 1)}.0.{rest.replace('conv.', 'op.')}"
        if kind == "upsamplers":
            attends = any(each.startswith(f"up_blocks.{block}.attentions.") for each in names)
            return f"output_blocks.{block * (layers + 1) + layers}.{1 + attends}.{rest}"
        place = f"input_blocks.{block * (layers + 1) + layer + 1}"
        place = place if side == "down" else f"output_blocks.{block * (layers + 1) + layer}"
        return f"{place}.{int(kind == 'attentions')}.{inner}"

    return {name: original(name) for name in names}


def vae_names(names: Iterable[str]) -> dict[str, str]:
    """Of `AutoencoderKL`."""
    names = list(names)
    last = max(int(name.split(".")[2]) for name in names if name.startswith("decoder.up_blocks."))

    def original(name: str) -> str:
        name = re.sub(r"mid_block\.resnets\.(\d+)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
        name = re.sub(r"down_blocks\.(\d+)\.resnets", r"down.\1.block", name)
        name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
        name = re.sub(r"up_blocks\.(\d+)\.resnets", lambda m: f"up.{last - int(m[1])}.block", name)
        name = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{last - int(m[1])}.upsample", name)
        return _renamed(name, _VAE)

    return {name: original(name) for name in names}


def clip_names(names: Iterable[str]) -> dict[str, str]:
    """Of `CLIPTextModel`, which transformers names with or without ``text_model``."""
    return {name: f"text_model.{name.removeprefix('text_model.')}" for name in names}


def open_clip_names(names: Iterable[str]) -> dict[str, str]:
    """Of `CLIPTextModel` and `CLIPTextModelWithProjection`."""

    def original(name: str) -> str:
        name = name.removeprefix("text_model.")
        fused = _FUSED.fullmatch(name)
        name = f"{fused['layer']}.attn.in_proj_{fused['kind']}" if fused else name
        return _renamed(name, _OPEN_CLIP)

    return {name: original(name) for name in names}


RULES: dict[str, Rule] = {"unet": unet_names, "vae": vae_names, "clip": clip_names, "open_clip": open_clip_names}
"""By the names in the shipped configs."""


def from_original(
    names: Mapping[str, str], state: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]
) -> dict[str, Tensor]:
    """Weights here of original ones.

    Args:
        names: of `Rule`.
        state: by original name; a weight that is missing there is missing here.
        shapes: of the weights here.
    """
    found = {}
    for original, parts in _grouped(names).items():
        if original in state:
            tensor = state[original].T if original == "text_projection" else state[original]
            for name, chunk in zip(parts, tensor.chunk(len(parts)), strict=True):
                fits = chunk.numel() == shapes[name].numel()
                found[name] = chunk.reshape(shapes[name]) if fits else chunk
    return found


def to_original(names: Mapping[str, str], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Original weights of those here: the inverse of `from_original`."""
    found = {}
    for original, parts in _grouped(names).items():
        tensor = torch.cat([state[name] for name in parts]) if len(parts) > 1 else state[parts[0]]
        tensor = tensor[..., None, None] if _WAS_CONVOLUTION.search(original) else tensor
        found[original] = (tensor.T if original == "text_projection" else tensor).contiguous()
    return found


def _grouped(names: Mapping[str, str]) -> dict[str, list[str]]:
    """The names here of each original one; queries before keys before values."""
    groups: dict[str, list[str]] = {}
    for name, original in names.items():
        groups.setdefault(original, []).append(name)
    return {original: sorted(parts, key=_role) for original, parts in groups.items()}


def _role(name: str) -> int:
    fused = _FUSED.fullmatch(name)
    return "qkv".index(fused["role"]) if fused else 0


def _renamed(name: str, pieces: Mapping[str, str]) -> str:
    """``name`` with each piece between dots replaced that the mapping has."""
    for piece, other in pieces.items():
        name = re.sub(rf"(?<![^.]){re.escape(piece)}(?![^.])", other, name)
    return name
