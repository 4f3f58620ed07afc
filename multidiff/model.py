"""The model: a codec, a conditioner and a denoiser."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from multidiff.codecs import Codec
from multidiff.codecs.base import Shape
from multidiff.conditioners import Conditioner, FieldConditioner
from multidiff.configuration import instantiate, target_class
from multidiff.configuration.build import TARGET
from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import NetworkDenoiser
from multidiff.diffusion.objectives import Objective
from multidiff.diffusion.predictions import Prediction
from multidiff.diffusion.schedules import Schedule
from multidiff.errors import InputError, refusals

MODEL_GROUPS = ("modality", "codec", "backbone", "conditioning", "schedule", "prediction", "tuning")
"""The config groups that a model is made of: all but the last, or, of a pretrained pipeline, the first and the last."""


class Model(nn.Module):
    """A codec, a conditioner and a denoiser; its state is what a model directory holds."""

    def __init__(self, codec: Codec, conditioner: Conditioner, denoiser: NetworkDenoiser):
        super().__init__()
        self.denoiser = denoiser
        self.conditioner = conditioner
        self.codec = codec

    def condition(self, samples: Sequence[Mapping[str, Any]]) -> Conditioning | None:
        """The conditions of a batch, from the fields of each sample."""
        return self.conditioner(samples)

    @torch.no_grad()
    def encode(self, data: Tensor) -> Tensor:
        """x0 of a batch of data, in the precision of the data, without autocast.

        Raises:
            InputError: the codec makes another shape than it states.
        """
        with torch.autocast(data.device.type, enabled=False):
            x0 = self.codec.encode(data)
        expected = self.codec.shape(tuple(data.shape[1:]))
        if tuple(x0.shape[1:]) != expected:
            raise InputError(
                f"{type(self.codec).__name__} encodes a sample to {tuple(x0.shape[1:])}, and its method shape says "
                f"{expected}: correct one of them"
            )
        return x0

    @torch.no_grad()
    def decode(self, x0: Tensor) -> Tensor:
        """Data of a batch of x0, without autocast, in parts of `Codec.decoded_at_once` samples."""
        parts = x0.split(self.codec.decoded_at_once(tuple(x0.shape[1:])))
        with torch.autocast(x0.device.type, enabled=False):
            return torch.cat([self.codec.decode(part) for part in parts])


def build_model(config: Mapping[str, Any], data_shape: Shape) -> Model:
    """A model with fresh weights from the groups in `MODEL_GROUPS`, for data of ``data_shape``."""
    parts = {field: instantiate(FieldConditioner, part, field=field) for field, part in config["conditioning"].items()}
    conditioner, codec = Conditioner(parts), instantiate(Codec, config["codec"])
    codec.require(config["modality"])
    backbone = instantiate(
        nn.Module,
        config["backbone"],
        channels=codec.shape(data_shape)[0],
        vector_dim=conditioner.vector_dim,
        token_dim=conditioner.token_dim,
    )
    schedule, prediction = instantiate(Schedule, config["schedule"]), instantiate(Prediction, config["prediction"])
    with refusals():
        denoiser = NetworkDenoiser(backbone, schedule, prediction, log_snr_range(config))
    return Model(codec, conditioner, denoiser)


def log_snr_range(config: Mapping[str, Any]) -> tuple[float, float]:
    """The lowest and the highest log SNR that the network takes: those in the config, or those of its objective.

    Args:
        config: of a model; without an objective, the range is infinite.

    Raises:
        InputError: the config states a range that is empty.
    """
    if config.get("log_snr_range") is not None:
        low, high = (float(end) for end in config["log_snr_range"])
        if not low <= high:
            raise InputError(f"log_snr_range is the lowest and the highest log SNR, got {low} and {high}")
        return low, high
    if config.get("objective") is None:
        return -math.inf, math.inf
    times = instantiate(Objective, config["objective"]).times
    return times.log_snr_range(instantiate(Schedule, config["schedule"]))


def described_network(backbone: Mapping[str, Any]) -> str:
    """The network that the config of a backbone describes, such as ``UNet of widths [96, 128], dropout 0.1``."""
    width = next((f" of {name} {backbone[name]}" for name in ("widths", "width") if name in backbone), "")
    dropout = f", dropout {backbone['dropout']:g}" if backbone.get("dropout") else ""
    return f"{class_name(backbone)}{width}{dropout}"


def class_name(config: Mapping[str, Any]) -> str:
    """The name of the class that ``config`` describes, without its module."""
    return str(config[TARGET]).rpartition(".")[2]


def informed(
    config: Mapping[str, Any],
    fields: Mapping[str, Sequence[Any]],
    data: Sequence[Tensor],
    known: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The groups ``conditioning`` and ``codec`` of ``config`` completed with settings that follow from the data.

    Args:
        config: of a training.
        fields: columns of the data by name.
        data: data tensors, the same each time.
        known: the conditioning of the model that the training starts from, whose fields the data may lack.

    Raises:
        InputError: the data lack a field that the conditioning reads.
    """
    conditioning = {
        field: _informed(part, field, fields.get(field), (known or {}).get(field))
        for field, part in config["conditioning"].items()
    }
    codec = {**config["codec"], **target_class(config["codec"], Codec).settings_from(config["codec"], data)}
    return {"conditioning": conditioning, "codec": codec}


def _informed(
    part: Mapping[str, Any], field: str, column: Sequence[Any] | None, known: Mapping[str, Any] | None
) -> dict[str, Any]:
    kind = target_class(part, FieldConditioner)
    if known is None or known["_target_"] != part["_target_"]:
        return {**part, **kind.learned(part, field, column)}
    if column is None:
        return {**part, **{name: value for name, value in known.items() if name not in part}}
    return {**part, **kind.continued(kind.learned(part, field, column), known)}


def resumed(kept: Mapping[str, Any], learned: Mapping[str, Any]) -> dict[str, Any]:
    """The group ``conditioning`` of a training that is resumed: ``kept``, with what it may learn from changed data."""
    return {field: target_class(part, FieldConditioner).resumed(part, learned[field]) for field, part in kept.items()}


def in_force(config: Any, learned: Any, before: Any) -> Any:
    """``learned`` from the data, with what the run ``before`` had learned wherever ``config`` leaves it to the data.

    A setting that an older version did not learn stays as the config has it, which is how that run was trained.
    """
    if isinstance(learned, Mapping):
        parts = [part if isinstance(part, Mapping) else {} for part in (config, before)]
        absent = {name: value if isinstance(value, Mapping) else parts[0].get(name) for name, value in learned.items()}
        known = {**absent, **parts[1]}
        return {name: in_force(parts[0].get(name), value, known[name]) for name, value in learned.items()}
    return learned if learned == config else before
