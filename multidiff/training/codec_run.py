"""The training of a codec, built once from its settings."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from omegaconf import DictConfig
from PIL.Image import Image
from torch import Tensor, nn
from torch.optim import Optimizer

from multidiff.codecs import Autoencoder
from multidiff.codecs.directory import codec_hash, find_codec, load_codec, save_codec
from multidiff.codecs.losses import Reconstruction
from multidiff.configuration import instantiate, target_class
from multidiff.data.dataset import Unaugmented
from multidiff.errors import InputError
from multidiff.training.base_run import BaseRun, prepared
from multidiff.training.codec_checks import CodecChecks
from multidiff.training.codec_memory import codec_step_memory
from multidiff.training.ema import Decay
from multidiff.training.memory import StepMemory, lack_of_memory
from multidiff.training.reconstruction import ReconstructionModule
from multidiff.training.speed import device_kind
from multidiff.training.stability import Stability
from multidiff.training.trainer import make_trainer


@dataclass
class CodecRun(BaseRun):
    """The training of an autoencoder."""

    module: ReconstructionModule

    @property
    def networks(self) -> list[nn.Module]:
        return [self.module.model.encoder, self.module.model.decoder]

    def held_out(self, count: int) -> Tensor:
        """``count`` held-out samples, ``(N, *data shape)``, evenly spread; all, if there are fewer."""
        return self._samples(self.datamodule.validation, count)

    def training(self, count: int) -> Tensor:
        """Training samples, likewise."""
        return self._samples(self.datamodule.training, count)

    def _samples(self, rows: list[int], count: int) -> Tensor:
        samples = Unaugmented(self.dataset)
        places = torch.linspace(0, len(rows) - 1, min(count, len(rows)))
        return torch.stack([samples[rows[int(place)]] for place in places])

    @property
    def obstacles(self) -> list[str]:
        count, kind = self.settings["loader"]["batch_size"], device_kind(self.settings["trainer"]["accelerator"])
        lack = lack_of_memory(self.memory, count, math.prod(self.dataset.shape), kind)
        return [lack] if lack else []

    def memory(self, batch_size: int) -> StepMemory:
        return codec_step_memory(self.module, self.dataset, self.settings, batch_size)

    @property
    def own_callbacks(self) -> list[L.Callback]:
        return [CodecChecks()]

    def previewer(self, count: int) -> Callable[[], Image]:
        """Held-out samples beside their reconstructions: as many pairs as fill a square of ``count`` pictures."""
        side = max(1, math.isqrt(count) // 2)
        data = self.held_out(2 * side**2)

        def picture() -> Image:
            network = self.module.averaged
            with torch.no_grad():
                decoded = network.decode(network.encode(data.to(self.module.device)))
            pairs = zip(data, decoded.cpu(), strict=True)
            return self.modality.preview([self.modality.to_artifact(x) for pair in pairs for x in pair])

        return picture

    def save(self, directory: Path, step: int, facts: Mapping[str, Any] | None = None) -> None:
        shape, network = tuple(self.dataset.shape), self.module.averaged
        save_codec(network, self.settings, shape, directory, self.facts(step) | dict(facts or {}))


def build_codec(config: DictConfig | dict[str, Any]) -> CodecRun:
    """Build everything that the training of the codec in ``config`` needs. Nothing is written.

    Raises:
        InputError: something in the config or in the data cannot be used.
    """
    if config.get("teacher") is not None:
        raise InputError("a codec takes no teacher: leave teacher out")
    start = prepared(config)
    settings, dataset = start.settings, start.dataset
    shape, kind = tuple(dataset.shape), target_class(settings["autoencoder"], Autoencoder)
    settings["autoencoder"] |= kind.settings_from(settings["autoencoder"], shape)
    network = instantiate(Autoencoder, settings["autoencoder"])
    network.shape(shape)  # refuses data that it does not encode
    if settings["decoder_of"] is not None:
        _keep_encoder(network, str(settings["decoder_of"]), settings["autoencoder"])
    reconstruction = instantiate(Reconstruction, settings["reconstruction"])
    reconstruction.prepare(start.modality, dataset, settings["loader"]["holdout"], settings["seed"])
    trained = [*network.parameters(), *reconstruction.parameters()]
    module = ReconstructionModule(
        network,
        reconstruction,
        instantiate(Decay, settings["ema"]),
        instantiate(Optimizer, settings["optimizer"], params=[each for each in trained if each.requires_grad]),
        settings["warmup_steps"],
        settings["cooldown"],
        settings["seed"],
        instantiate(Stability, settings["stability"]),
    )
    run = CodecRun(**vars(start), module=module, datamodule=start.loader(dataset))
    run.check_resume()
    run.trainer = make_trainer(run)
    return run


def _keep_encoder(network: Autoencoder, path: str, config: Mapping[str, Any]) -> None:
    """Start from the weights of the codec at ``path``, and train the decoder alone.

    Raises:
        InputError: that codec is another network.
    """
    directory = find_codec(path)
    trained = load_codec(directory, codec_hash(directory))
    if dict(trained.config["autoencoder"]) != dict(config):
        raise InputError(
            f"the codec {path} has another autoencoder: use the settings of autoencoder in its config.yaml"
        )
    network.load_state_dict(trained.network.state_dict())
    network.encoder.requires_grad_(False)
    network.bottleneck.requires_grad_(False)
