"""What is trained: a denoiser and the conditioner that speaks to it."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from multidiff.conditioners import Conditioner
from multidiff.configuration import instantiate
from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import NetworkDenoiser
from multidiff.modality import Modality

MODEL_GROUPS = ("modality", "backbone", "conditioning", "schedule", "prediction")
"""The config groups that a model is made of."""


class Model(nn.Module):
    """A denoiser and its conditioner; its state is what a model directory holds."""

    def __init__(self, denoiser: NetworkDenoiser, conditioner: Conditioner):
        super().__init__()
        self.denoiser = denoiser
        self.conditioner = conditioner

    def condition(self, values: Sequence[str | None]) -> Conditioning | None:
        """The conditions of a batch, from one label or prompt a sample."""
        return self.conditioner(values)


def build_model(config: Mapping[str, Any], modality: Modality[Any]) -> Model:
    """A model with fresh weights from the groups in `MODEL_GROUPS`."""
    conditioner = instantiate(config["conditioning"])
    backbone = instantiate(
        config["backbone"],
        channels=modality.channels,
        vector_dim=conditioner.vector_dim,
        token_dim=conditioner.token_dim,
    )
    schedule, prediction = instantiate(config["schedule"]), instantiate(config["prediction"])
    return Model(NetworkDenoiser(backbone, schedule, prediction), conditioner)
