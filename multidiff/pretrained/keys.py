"""The names of weights in the original code of Stable Diffusion, and in diffusers and transformers; both ways.

Rombach et al. (2022), https://github.com/CompVis/stable-diffusion; OpenCLIP, https://github.com/mlfoundations/open_clip.
A rule gives the original name of each weight here. In OpenCLIP, SD 3 and Flux the queries, keys and values of a layer
are one weight: three weights here have the same original name.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from multidiff.pretrained.transformer_keys import flux_names, sd3_names, with_swapped_halves

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

_FUSED = re.compile(r"(?P<layer>.*)\.self_attn\.[qkv]_proj\.(?P<kind>weight|bias)")

SHARED = "shared.weight"
"""The embedding of T5."""

_ROLE = re.compile(r".*\.(?:to_([qkv])|(?:add_)?([qkv])_proj|proj_(m)lp)\.(?:weight|bias)")
"""Parts of a fused weight: queries, keys and values, then the layer of a Flux block that widens."""


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
    """Of `CLIPTextModel`, which transformers names with or without ``text_model``, also with a projection."""
    return {
        name: name if name.startswith("text_projection.") else f"text_model.{name.removeprefix('text_model.')}"
        for name in names
    }


def t5_names(names: Iterable[str]) -> dict[str, str]:
    """Of `T5EncoderModel`, whose embedding has two names, and one in files."""
    return {name: SHARED if name == "encoder.embed_tokens.weight" else name for name in names}


def open_clip_names(names: Iterable[str]) -> dict[str, str]:
    """Of `CLIPTextModel` and `CLIPTextModelWithProjection`."""

    def original(name: str) -> str:
        name = name.removeprefix("text_model.")
        fused = _FUSED.fullmatch(name)
        name = f"{fused['layer']}.attn.in_proj_{fused['kind']}" if fused else name
        return _renamed(name, _OPEN_CLIP)

    return {name: original(name) for name in names}


RULES: dict[str, Rule] = {
    "unet": unet_names,
    "sd3": sd3_names,
    "flux": flux_names,
    "vae": vae_names,
    "clip": clip_names,
    "open_clip": open_clip_names,
    "t5": t5_names,
}
"""By the names in the shipped configs."""


def from_original(
    names: Mapping[str, str], state: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]
) -> dict[str, Tensor]:
    """Weights here of original ones.

    Args:
        names: of `Rule`, of all weights of a network.
        state: by original name; a weight that is missing there is missing here.
        shapes: of the weights here.
    """
    found, swapped = {}, with_swapped_halves(names.values())
    for original, parts in parts_of(names).items():
        if original in state:
            tensor = state[original].T if original == "text_projection" else state[original]
            tensor = _swapped(tensor) if original in swapped else tensor
            for name, piece in zip(parts, _split(tensor, [shapes[name] for name in parts]), strict=True):
                found[name] = piece.reshape(shapes[name]) if piece.numel() == shapes[name].numel() else piece
    return found


def to_original(names: Mapping[str, str], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Original weights of those here: the inverse of `from_original`."""
    found, swapped = {}, with_swapped_halves(names.values())
    for original, parts in parts_of(names).items():
        fused = len(parts) > 1 and original != SHARED
        tensor = torch.cat([state[name] for name in parts]) if fused else state[parts[0]]
        tensor = tensor[..., None, None] if _WAS_CONVOLUTION.search(original) else tensor
        tensor = _swapped(tensor) if original in swapped else tensor
        found[original] = (tensor.T if original == "text_projection" else tensor).contiguous()
    return found


def parts_of(names: Mapping[str, str]) -> dict[str, list[str]]:
    """The names here of each original one; of a fused weight in the order in which it holds them."""
    groups: dict[str, list[str]] = {}
    for name, original in names.items():
        groups.setdefault(original, []).append(name)
    return {original: sorted(parts, key=_place) for original, parts in groups.items()}


def _place(name: str) -> int:
    match = _ROLE.fullmatch(name)
    return "qkvm".index(next(filter(None, match.groups()))) if match else 0


def _split(tensor: Tensor, shapes: Sequence[torch.Size]) -> Sequence[Tensor]:
    """The parts of a fused weight with ``shapes``; the whole for each where they do not fit, an error later."""
    counts = [math.prod(shape[:1]) for shape in shapes]
    fits = len(counts) > 1 and tensor.shape[:1] == (sum(counts),)
    return tensor.split(counts) if fits else [tensor] * len(counts)


def _swapped(tensor: Tensor) -> Tensor:
    """Scale and shift in the other order."""
    return torch.cat(tensor.chunk(2)[::-1])


def _renamed(name: str, pieces: Mapping[str, str]) -> str:
    """``name`` with each piece between dots replaced that the mapping has."""
    for piece, other in pieces.items():
        name = re.sub(rf"(?<![^.]){re.escape(piece)}(?![^.])", other, name)
    return name
