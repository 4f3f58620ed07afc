"""The contract of reconstruction losses."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from multidiff.codecs.autoencoder import Autoencoder
from multidiff.data.dataset import Dataset
from multidiff.modality import Modality


@dataclass(frozen=True)
class Batch:
    """One batch, as the loader makes it.

    Attributes:
        data: ``(B, *data shape)``.
        fields: of each sample.
        step: optimiser steps so far.
    """

    data: Tensor
    fields: list[dict[str, Any]]
    step: int


class Reconstruction(nn.Module, ABC):
    """What the training of a codec minimises; its own parameters, as of a discriminator, train with the codec.

    They are saved in checkpoints, but neither averaged nor saved with the codec.
    """

    def prepare(self, modality: Modality[Any], dataset: Dataset, holdout: float, seed: int) -> None:
        """Make what the loss takes from the data, such as the features of a perceptual term; nothing by default.

        Args:
            modality: of the data.
            dataset: of the training.
            holdout: fraction of it that is held out.
            seed: of the split.
        """

    @abstractmethod
    def forward(self, autoencoder: Autoencoder, batch: Batch, generator: torch.Generator | None) -> dict[str, Tensor]:
        """The terms of the loss by name, scalars, which are added; ``kl``, where there is one, among them.

        Args:
            autoencoder: that is trained.
            batch: of data.
            generator: of the noise; None in validation, when terms that only guide training may be left out.
        """
