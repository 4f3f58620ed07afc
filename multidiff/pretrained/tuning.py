"""Training a pretrained pipeline further: which of its weights train, and as what they are saved."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from multidiff.data.cache import default_cache
from multidiff.errors import InputError, first_of
from multidiff.model import Model
from multidiff.nn.frozen import loading_frozen
from multidiff.pretrained.autoencoder import AutoencoderCodec
from multidiff.pretrained.families import FAMILIES
from multidiff.pretrained.folder import read_index
from multidiff.pretrained.libraries import library
from multidiff.pretrained.lora_files import kohya_metadata, kohya_state, lora_metadata, lora_state
from multidiff.pretrained.opening import is_pipeline, open_pipeline, pipeline_hash
from multidiff.pretrained.parts import Opened
from multidiff.pretrained.saving import save_folder
from multidiff.pretrained.terminal import MARKS, rescaled, write_rescaled
from multidiff.pretrained.text import PromptConditioner
from multidiff.pretrained.tuned import TunedModel
from multidiff.weights import CARD, write_into

KOHYA = "kohya"
"""Folder in a model directory with the LoRA in the layout of kohya's scripts."""


@dataclass(kw_only=True)
class Tuning(ABC):
    """How a pretrained pipeline is trained further.

    Args:
        path: of the pipeline: a folder that diffusers saved, or a single file.
        sha256: its hash; None until it is known.
        dropout: probability of hiding the caption in training, which guidance needs.
        views: encoded versions of each picture in the cache, each with its own augmentation; 0 encodes every batch.
        gradient_checkpointing: whether the backward pass computes activations again, for less memory.
        zero_terminal_snr: whether the schedule is rescaled to end at noise alone, and v is predicted, so that the model
            learns very dark and bright pictures; for models that do not do so already.

    Attributes:
        source: the path of the pipeline.
        digest: its hash.

    Raises:
        InputError: there is no pipeline, it is another one than in training or of a family that is not trained, or a
            number cannot be used.
    """

    path: str
    sha256: str | None = None
    dropout: float = 0.1
    views: int = 1
    gradient_checkpointing: bool = False
    zero_terminal_snr: bool = False
    source: Path = field(init=False)
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        if not 0 <= self.dropout <= 1 or self.views < 0:
            raise InputError(
                f"tuning.dropout is a probability and tuning.views at least 0, got {self.dropout} and {self.views}"
            )
        self.source = Path(self.path).expanduser()
        if not is_pipeline(self.source):
            raise InputError(
                f"there is no pretrained pipeline at {self.path}: pretrained is a folder that diffusers saved, or a "
                ".safetensors file of Stable Diffusion or Flux"
            )
        if self.source.is_dir() and not FAMILIES[kind := read_index(self.source)["_class_name"]].trains:
            known = ", ".join(name for name, family in FAMILIES.items() if family.trains)
            raise InputError(f"{self.path} is a {kind}, which cannot be trained further; supported: {known}")
        self.digest = pipeline_hash(self.source)
        if self.sha256 not in (None, self.digest):
            raise InputError(
                f"{self.path} has the hash {self.digest[:12]}, but {str(self.sha256)[:12]} was trained: put that "
                "pipeline there"
            )

    def open(self, device: str = "cpu") -> Opened:
        """The pipeline as it was before training, on a device; on the CPU in float32.

        Raises:
            InputError: it has zero terminal SNR already, and is asked for it.
        """
        with loading_frozen():
            opened = open_pipeline(self.source, device)
        return rescaled(opened, self.path) if self.zero_terminal_snr else opened

    def tuned(self, model: Model) -> TunedModel:
        """The ``model`` of the pipeline with the weights that train, with which it starts as it was.

        Raises:
            InputError: it cannot be trained.
        """
        model.requires_grad_(False)
        if self.gradient_checkpointing:
            model.denoiser.network.enable_gradient_checkpointing()  # type: ignore[operator]
        for part in model.conditioner:
            if isinstance(part, PromptConditioner):
                part.dropout = self.dropout
                part.keep(default_cache() / "text", self.digest)
        self.prepare(model)
        if isinstance(model.codec, AutoencoderCodec):
            views = 0 if model.denoiser.masked else self.views  # each step has masks of its own
            model.codec.sha256, model.codec.views = self.digest, views
        return TunedModel(model.codec, model.conditioner, model.denoiser)

    @abstractmethod
    def prepare(self, model: Model) -> None:
        """Make the weights that train; all others are frozen."""

    @abstractmethod
    def write(self, model: Model, description: Mapping[str, Any], card: str, folder: Path) -> None:
        """Write what was trained into ``folder``, which is empty, with the config of the model and its card."""


@dataclass(kw_only=True)
class Lora(Tuning):
    """LoRA on layers of the denoiser and of text encoders: Hu et al. (2022), https://arxiv.org/abs/2106.09685.

    Args:
        rank: of the update of each layer.
        alpha: the update is multiplied by ``alpha / rank``.
        targets: ends of the names of the layers.
        text_targets: likewise in the text encoders; none of them trains by default.
    """

    rank: int
    alpha: float
    targets: Sequence[str]
    text_targets: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.rank < 1 or not self.alpha > 0:
            raise InputError(f"tuning.rank is at least 1 and tuning.alpha above 0, got {self.rank} and {self.alpha}")
        super().__post_init__()

    def prepare(self, model: Model) -> None:
        self._inject(model.denoiser.network, self.targets, "targets")
        for part in model.conditioner if self.text_targets else ():
            for tower in part.encoding:
                if tower.config.model_type != "t5":
                    self._inject(tower.network, self.text_targets, "text_targets")
                    tower.unfreeze()

    def write(self, model: Model, description: Mapping[str, Any], card: str, folder: Path) -> None:
        marks = MARKS if self.zero_terminal_snr else {}
        metadata = lora_metadata(model, self.rank, self.alpha, self.targets, self.text_targets) | marks
        write_into(folder, lora_state(model), description, card, metadata)
        if kohya := kohya_state(model, self.alpha):
            (folder / KOHYA).mkdir()
            save_file(kohya, folder / KOHYA / "lora.safetensors", kohya_metadata(self.rank, self.alpha) | marks)

    def _inject(self, network: nn.Module, targets: Sequence[str], setting: str) -> None:
        """Give the layers of ``network`` whose names end in ``targets`` an update.

        Raises:
            InputError: it has no such layer.
        """
        layers = [name for name, layer in network.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
        unknown = [end for end in targets if not any(f".{name}".endswith(f".{end}") for name in layers)]
        if unknown or not targets:
            ends = sorted({name.split(".", name.count(".") - 1)[-1] for name in layers})
            raise InputError(
                f"tuning.{setting}: no layer of this network ends in {first_of(unknown, 3) or 'nothing'}; there are "
                f"{first_of(ends, 20)}"
            )
        peft = library("peft")
        config = peft.LoraConfig(r=self.rank, lora_alpha=self.alpha, target_modules=list(targets))
        peft.inject_adapter_in_model(config, network)


@dataclass(kw_only=True)
class Full(Tuning):
    """All weights of the denoiser, saved as a folder that diffusers opens; the pipeline must be such a folder."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.source.is_dir():
            raise InputError(
                f"{self.path} is a single file, which supports tuning=lora alone: tuning=full needs a folder"
            )

    def prepare(self, model: Model) -> None:
        model.denoiser.network.requires_grad_(True)

    def write(self, model: Model, description: Mapping[str, Any], card: str, folder: Path) -> None:
        save_folder(model, self.source, folder)
        if self.zero_terminal_snr:
            write_rescaled(folder)
        (folder / CARD).write_text(card, "utf-8")
