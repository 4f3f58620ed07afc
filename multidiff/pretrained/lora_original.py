"""LoRA of SD 3 and Flux by the layers of their original code, of which one may be several here.

Kohya's scripts and ComfyUI name them so: ``lora_unet_double_blocks_0_img_attn_qkv`` is an update of the queries, keys
and values at once. https://github.com/kohya-ss/sd-scripts, ``networks/lora_flux.py``, ``networks/lora_sd3.py``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from multidiff.pretrained.keys import Rule, parts_of
from multidiff.pretrained.transformer_keys import flux_names, sd3_names, with_swapped_halves

RULES: dict[str, Rule] = {"FluxTransformer2DModel": flux_names, "SD3Transformer2DModel": sd3_names}
"""By the class of the network."""


@dataclass(frozen=True)
class OriginalLayer:
    """A layer of the original code.

    Attributes:
        name: there, such as ``double_blocks.0.img_attn.qkv``.
        parts: its layers here, in the order of its rows.
        rows: of each part.
        swapped: whether its halves are in the other order here.
    """

    name: str
    parts: Sequence[str]
    rows: Sequence[int]
    swapped: bool

    @property
    def spellings(self) -> tuple[str, str]:
        """Its name in kohya's files and in ComfyUI's."""
        return f"lora_unet_{self.name.replace('.', '_')}", f"diffusion_model.{self.name}"

    def split(self, up: Tensor) -> Sequence[Tensor]:
        """The second factor of an update of each part; if it does not fit, the whole of it for each."""
        if len(up) != sum(self.rows):
            return [up] * len(self.parts)
        return self._ordered(up).split(list(self.rows))

    def joined(self, updates: Mapping[str, tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """The factors of one update that equals those of the parts, of which some may have none.

        Its rank is the sum of theirs: each keeps its own rows and columns.

        Args:
            updates: both factors by part.
        """
        known = [part for part in self.parts if part in updates]
        downs, ups = zip(*(updates[part] for part in known), strict=True)
        whole = downs[0].new_zeros(sum(self.rows), sum(len(down) for down in downs))
        starts = dict(zip(self.parts, [sum(self.rows[:i]) for i in range(len(self.parts))], strict=True))
        column = 0
        for part, up in zip(known, ups, strict=True):
            whole[starts[part] : starts[part] + len(up), column : column + up.shape[1]] = up.flatten(1)
            column += up.shape[1]
        return torch.cat(downs), self._ordered(whole)

    def _ordered(self, up: Tensor) -> Tensor:
        return torch.cat(up.chunk(2)[::-1]) if self.swapped else up


def original_layers(network: nn.Module) -> Iterator[OriginalLayer]:
    """The layers of the original code of a network; none, unless it is of SD 3 or Flux."""
    rule = RULES.get(type(network).__name__)
    if rule is None:
        return
    weights = {
        name.replace(".base_layer.", "."): each for name, each in network.named_parameters() if "lora_" not in name
    }
    names = rule(weights)
    swapped = with_swapped_halves(names.values())
    for original, parts in parts_of(names).items():
        if original.endswith(".weight"):
            layers = [part.removesuffix(".weight") for part in parts]
            rows = [len(weights[part]) for part in parts]
            yield OriginalLayer(original.removesuffix(".weight"), layers, rows, original in swapped)
