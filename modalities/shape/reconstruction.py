"""What the training of a codec of shapes minimises."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from modalities.shape.distance_data import CHANNELS
from modalities.shape.latent_set import LatentSet
from multidiff.codecs.autoencoder import Autoencoder
from multidiff.codecs.losses import Batch, Reconstruction
from multidiff.data.dataset import Dataset
from multidiff.errors import InputError
from multidiff.modality import Modality


class DistanceReconstruction(Reconstruction):
    """The absolute difference of signed distances, clamped to the truncation and in units of it.

    Park et al. (2019), DeepSDF, section 3, https://arxiv.org/abs/1901.05103.
    """

    def prepare(self, modality: Modality[Any], dataset: Dataset, holdout: float, seed: int) -> None:
        if dataset.shape[0] != CHANNELS:
            raise InputError(
                f"a codec of shapes learns signed distances, and these data have {dataset.shape[0]} channels: take "
                "data=furniture_distances or data=mesh_distances"
            )

    def forward(self, autoencoder: Autoencoder, batch: Batch, generator: torch.Generator | None) -> dict[str, Tensor]:
        if not isinstance(autoencoder, LatentSet):
            raise InputError(f"signed distances are learned by LatentSet, not by {type(autoencoder).__name__}")
        latents = autoencoder.latents(batch.data, generator)
        queries = batch.data[:, :, autoencoder.encoder.points :]
        target = (queries[:, 6] / autoencoder.decoder.truncation).clamp(-1, 1)
        distance = F.l1_loss(autoencoder.distances(latents.values, queries[:, :3]), target)
        return {"distance": distance, "kl": latents.penalty}
