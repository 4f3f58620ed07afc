"""The training step and the validation loss of autoencoders, for any modality."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from multidiff.codecs import Autoencoder
from multidiff.codecs.losses import Batch, Reconstruction
from multidiff.training.averaged import AveragedModule
from multidiff.training.ema import Decay
from multidiff.training.stability import Stability, nan_unless_finite


class ReconstructionModule(AveragedModule):
    """Trains an autoencoder and its moving average.

    Args:
        model: to train.
        reconstruction: the loss; its own parameters train too, and are not averaged.
        decay: of the moving average.
        optimizer: of the parameters that train.
        warmup_steps: steps over which the learning rate rises linearly.
        cooldown: fraction of training, at its end, in which the learning rate falls linearly to zero.
        seed: of the noise.
        stability: handles non-finite gradients.
    """

    model: Autoencoder

    def __init__(
        self,
        model: Autoencoder,
        reconstruction: Reconstruction,
        decay: Decay,
        optimizer: Optimizer,
        warmup_steps: int,
        cooldown: float,
        seed: int,
        stability: Stability,
    ):
        super().__init__(model, decay, optimizer, warmup_steps, cooldown, seed, stability)
        self.reconstruction = reconstruction

    @property
    def averaged(self) -> Autoencoder:
        """The moving average."""
        return self.ema.model  # type: ignore[return-value]

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        terms = self.reconstruction(self.model, self._batch(batch), self.generator(batch_idx))
        loss = torch.stack(list(terms.values())).sum()
        self.samples_seen += len(batch["data"]) * self.trainer.world_size
        for name, term in terms.items():
            self.log(f"train/{name}", term)
        self.log("train/loss", loss)
        return nan_unless_finite(loss)

    @torch.no_grad()
    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """The terms of the averaged weights, without noise."""
        terms = self.reconstruction(self.averaged, self._batch(batch), None)
        values = {**terms, "loss": torch.stack(list(terms.values())).sum()}
        for name, value in values.items():
            self.log(f"val/{name}", value, on_epoch=True, sync_dist=True, batch_size=len(batch["data"]))

    def _batch(self, batch: dict[str, Any]) -> Batch:
        return Batch(batch["data"], batch["fields"], self.global_step)
