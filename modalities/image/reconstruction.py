"""What the training of an autoencoder of images minimises."""

from typing import Any

import torch
from torch import Tensor, nn

from modalities.image.features import Encoder, SmallNetwork, require_images
from multidiff.codecs.autoencoder import Autoencoder
from multidiff.codecs.losses import Batch, Reconstruction
from multidiff.codecs.losses.adversarial import PatchDiscriminator, adversarial_terms
from multidiff.codecs.losses.perceptual import Perceptual
from multidiff.data.dataset import Dataset
from multidiff.errors import InputError
from multidiff.evaluation import Reference
from multidiff.modality import Modality


class ImageReconstruction(Reconstruction):
    """The absolute difference of pixels, a distance of features, and optionally a discriminator.

    The features are those of `multidiff evaluate`: a small classifier that is trained on the training data.

    Args:
        perceptual: weight of the distance of features; 0 for none.
        encoder_steps: of the training of their network, which the cache keeps.
        adversarial: weight of the discriminator; 0 for none.
        adversarial_start: step from which the discriminator counts.
        adversarial_width: channels of its first layer.

    Raises:
        InputError: a weight below 0.
    """

    def __init__(
        self,
        perceptual: float = 0.1,
        encoder_steps: int = 600,
        adversarial: float = 0.0,
        adversarial_start: int = 1000,
        adversarial_width: int = 32,
    ):
        super().__init__()
        if min(perceptual, adversarial) < 0:
            raise InputError(f"weights are at least 0, got perceptual={perceptual} and adversarial={adversarial}")
        self.weights = {"perceptual": perceptual, "adversarial": adversarial}
        self.encoder_steps, self.start, self.width = encoder_steps, adversarial_start, adversarial_width
        self.perceptual: Perceptual | None = None
        self.discriminator: PatchDiscriminator | None = None

    def prepare(self, modality: Modality[Any], dataset: Dataset, holdout: float, seed: int) -> None:
        channels = dataset.shape[0]
        if self.weights["adversarial"]:
            self.discriminator = PatchDiscriminator(2, channels, self.width, (2, 2))
        if self.weights["perceptual"]:
            reference = Reference(modality, dataset, holdout, seed)
            require_images(reference)
            network: SmallNetwork = Encoder(self.encoder_steps).network(reference)  # type: ignore[assignment]
            taken = tuple(range(5, len(network.layers), 6))  # the last activation of each of its sizes
            self.perceptual = Perceptual(network.layers, taken)

    def forward(self, autoencoder: Autoencoder, batch: Batch, generator: torch.Generator | None) -> dict[str, Tensor]:
        latents = autoencoder.latents(batch.data, generator)
        decoded = autoencoder.decode(latents.values)
        terms = {"l1": (decoded - batch.data).abs().mean()}
        if self.perceptual is not None:
            terms["perceptual"] = self.weights["perceptual"] * self.perceptual(decoded, batch.data)
        if self.discriminator is not None and generator is not None:
            last = [each for each in autoencoder.decoder.modules() if isinstance(each, nn.Conv2d)][-1].weight
            active = batch.step >= self.start
            added = adversarial_terms(
                self.discriminator, batch.data, decoded, torch.stack(list(terms.values())).sum(), last, active
            )
            terms |= {**added, "adversarial": self.weights["adversarial"] * added["adversarial"]}
        return {**terms, "kl": latents.penalty}
