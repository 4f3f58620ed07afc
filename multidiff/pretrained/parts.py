"""The parts of a pretrained pipeline, read from disk, and what is made of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from multidiff.diffusion.objectives import Trained
from multidiff.errors import InputError
from multidiff.model import Model
from multidiff.pretrained.vocabulary import Vocabulary


@dataclass(frozen=True)
class Parts:
    """The parts of a pretrained pipeline.

    Attributes:
        where: folder or file, for messages.
        kind: class of the pipeline in diffusers.
        networks: by their names in a folder: ``unet`` or ``transformer``, ``vae``, ``text_encoder``, ...
        vocabularies: of the text encoders, by the names of these.
        scheduler: its config.
        settings: of the pipeline, such as ``force_zeros_for_empty_prompt``.
        dtype: of all weights: on a CPU float32, else that of the denoiser on disk.
    """

    where: Path
    kind: str
    networks: Mapping[str, Any]
    vocabularies: Mapping[str, Vocabulary]
    scheduler: Mapping[str, Any]
    settings: Mapping[str, Any]
    dtype: torch.dtype

    def check_widths(self, part: str, widths: Mapping[str, tuple[int, int, str]]) -> None:
        """Refuse parts that do not fit together.

        Args:
            part: words for the network.
            widths: by setting of the network, its value, the value of another part, and words for that.

        Raises:
            InputError: two values differ.
        """
        for name, (own, given, what) in widths.items():
            if own != given:
                raise InputError(
                    f"{self.where}/: the parts do not match: {name} of the {part} is {own}, but {what} {given}"
                )


@dataclass(frozen=True)
class Opened:
    """A pretrained pipeline.

    Attributes:
        model: with its weights.
        modality_config: of its artifacts.
        shape: of x0, ``(C, *size)``.
        sampler: a config of the group ``sampler``.
        guidance: scale; 1 is off.
        trained: how the model is sampled.
    """

    model: Model
    modality_config: Mapping[str, Any]
    shape: tuple[int, ...]
    sampler: Mapping[str, Any]
    guidance: float
    trained: Trained = field(default_factory=Trained)
