"""A codec under evaluation: its reconstructions of held-out data, beside the originals."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from multidiff.codecs.directory import codec_hash, find_codec, is_codec
from multidiff.codecs.learned import Learned
from multidiff.configuration import instantiate
from multidiff.data.dataset import Dataset
from multidiff.errors import InputError
from multidiff.evaluation.evaluated import Evaluated
from multidiff.evaluation.reference import Reference
from multidiff.evaluation.sources import Source
from multidiff.modality import Modality
from multidiff.sampling.model_directory import find_pipeline
from multidiff.weights import CONFIG, find_model, read_config


class EvaluatedCodec(Evaluated):
    """A trained codec, whose reconstructions of held-out data are the samples.

    Args:
        path: of the codec.
        device: on which it computes.
        batch_size: samples that go through it at once, at most a block; by default those of `Codec.decoded_at_once`.
    """

    def __init__(self, path: str, device: torch.device, batch_size: int | None = None):
        directory = find_codec(path)
        self.name, self.device, self.batch_size = path, device, batch_size
        self.codec = Learned(path, codec_hash(directory), views=0)
        config = self.codec.trained.config
        self.modality = instantiate(Modality, config["modality"])
        training = config.get("training")
        if not isinstance(training, Mapping) or not isinstance(config.get("data_shape"), list):
            raise InputError(f"{directory / CONFIG} lacks the shape of the data or facts about the training")
        self.shape = tuple(config["data_shape"])
        self.holdout, self.split_seed = training.get("holdout", self.holdout), training.get("seed", self.split_seed)

    def check(self, dataset: Dataset, text: str) -> None:
        decoded, own = self.codec.data_shape(self.codec.shape(tuple(dataset.shape))), tuple(dataset.shape)
        if not self.modality.reconstructed(own, decoded):
            raise InputError(f"--data {text}: this codec decodes {decoded} of data {own}, which are not compared here")

    def source(
        self, reference: Reference, samples: int, seed: int, changes: Mapping[str, Any]
    ) -> tuple[Source, dict[str, Any]]:
        if any(value is not None for value in changes.values()):
            raise InputError("--sampler, --steps and --guidance are for a diffusion model; a codec has none")
        size = self.codec.decoded_at_once(self.codec.shape(self.shape)) if self.batch_size is None else self.batch_size
        source = Reconstructed(reference, reference.held_out[:samples], self.codec, self.device, size)
        facts = {"codec_sha256": self.codec.sha256, "fidelity": source.fidelity(), "compared": len(source)}
        return source, facts


class Reconstructed(Source):
    """Reconstructions of the samples ``indices`` of the data, ``size`` of them at once."""

    def __init__(self, reference: Reference, indices: Sequence[int], codec: Learned, device: torch.device, size: int):
        self.reference, self.indices, self.codec, self.device, self.size = reference, indices, codec, device, size
        self.labels = [reference.label(i) for i in indices]

    def block(self, number: int) -> list[Any]:
        return [self.reference.modality.to_artifact(decoded) for _, decoded in self.pairs(number)]

    def pairs(self, number: int) -> list[tuple[Tensor, Tensor]]:
        """The data of block ``number`` and their reconstructions, ``(C, *size)`` each, without padding."""
        originals = [self.reference.data(self.indices[row]) for row in self.rows(number)]
        parts = torch.stack(originals).to(self.device).split(self.size)
        decoded = torch.cat([self.codec.decode(self.codec.encode(part)).cpu() for part in parts])
        if decoded.ndim == originals[0].ndim + 1:
            decoded = decoded[..., : originals[0].shape[-1]]
        return list(zip(originals, decoded, strict=True))

    def fidelity(self) -> dict[str, float]:
        """The mean of each measure of the modality over all samples."""
        modality = self.reference.modality
        each = [modality.fidelity(*pair) for number in self.blocks for pair in self.pairs(number)]
        return {name: float(np.mean([values[name] for values in each])) for name in each[0]}


def is_codec_path(path: str) -> bool:
    """Whether ``path`` is the directory, or the run, of a codec."""
    place = Path(path).expanduser()
    return find_pipeline(place) is None and is_codec(read_config(find_model(place)))
