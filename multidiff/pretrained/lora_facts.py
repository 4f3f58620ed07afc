"""What a LoRA is, in words: its dialect, its ranks, and what it changes."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from multidiff.errors import first_of
from multidiff.pretrained.lora import read_lora
from multidiff.pretrained.tensor_file import TensorFile

DIALECTS = {"base_model.model": "PEFT", "lora_": "kohya", "diffusion_model": "ComfyUI"}
"""By the start of the names of layers; diffusers for others."""

NETWORKS = re.compile(
    r"(?P<network>base_model\.model|diffusion_model|lora_unet|lora_te\d?|unet|transformer|text_encoder(_\d)?)[._]"
)
"""Start of the name of a layer: the network that it is in."""

NUMBER = re.compile(r"[._]\d+(?=[._]|$)[._]?")
"""A number of a block or layer within a name, and the end of it."""

BASES = ("modelspec.architecture", "ss_base_model_version", "ss_sd_model_name")
"""Names in the metadata of a file that tell the model which it was trained on."""

SHOWN = 8


def lora_facts(path: Path) -> dict[str, str]:
    """The dialect, networks, layers, ranks and scales of the LoRA in a file, by name.

    Raises:
        InputError: it is none, or one that is not read.
    """
    updates = read_lora(path)
    dialect = next((name for start, name in DIALECTS.items() if next(iter(updates)).startswith(start)), "diffusers")
    metadata = TensorFile(path).metadata
    bases = [metadata[name] for name in BASES if metadata.get(name)]
    return {
        "dialect": dialect,
        "ranks": _counted(str(len(update.down)) for update in updates.values()),
        "scale": _counted(f"{update.scale:g}" for update in updates.values()),
        "networks": _counted(_network(layer) for layer in updates),
        "layers": _counted(map(_target, updates)),
        "numbers": f"{sum(update.down.numel() + update.up.numel() for update in updates.values()):,}",
        **({"trained on": ", ".join(bases)} if bases else {}),
    }


def _network(layer: str) -> str:
    found = NETWORKS.match(layer)
    return found["network"] if found else "not named"


def _target(layer: str) -> str:
    """What a layer is in its block: ``attn1.to_q`` of ``unet.down_blocks.1.attentions.0.attn1.to_q``."""
    pieces = [piece for piece in NUMBER.split(NETWORKS.sub("", layer, count=1)) if piece]
    return pieces[-1] if pieces else layer


def _counted(values: Iterable[str]) -> str:
    return first_of([f"{value} ({count})" for value, count in Counter(values).most_common()], SHOWN)
