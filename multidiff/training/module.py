"""The training step, the validation loss and the optimiser, for any modality."""

from collections.abc import Callable, Iterable
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from multidiff.diffusion.losses import DiffusionLoss
from multidiff.diffusion.noise import fold
from multidiff.errors import InputError
from multidiff.model import Model
from multidiff.training.ema import EMA, Decay

LEVELS = (-2.0, 0.0, 2.0)
"""Edges, in log SNR, of the noise levels that the validation loss is reported for."""

LEVEL_NAMES = ("log_snr_below_-2", "log_snr_-2_to_0", "log_snr_0_to_2", "log_snr_above_2")


class DiffusionModule(L.LightningModule):
    """Trains a model and its moving average.

    Times, noise, dropout and dropped conditions of a step depend on (seed, rank, step) alone.

    Args:
        model: what is trained.
        loss: what is minimised.
        decay: of the moving average.
        optimizer: from parameters to an optimiser.
        warmup_steps: steps over which the learning rate rises linearly.
        seed: of the times and the noise.
    """

    def __init__(
        self,
        model: Model,
        loss: DiffusionLoss,
        decay: Decay,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        warmup_steps: int,
        seed: int,
    ):
        super().__init__()
        self.model = model
        self.ema = EMA(model, decay)
        self.loss = loss
        self.optimizer = optimizer
        self.warmup_steps = warmup_steps
        self.seed = seed

    def configure_optimizers(self) -> dict[str, Any]:  # type: ignore[override]
        optimizer = self.optimizer(self.model.parameters())
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": LambdaLR(optimizer, self._warmup), "interval": "step"},
        }

    def on_train_start(self) -> None:
        """Set the optimiser as the config says, which may be otherwise than before a resume."""
        (optimizer,), (schedule,) = self.trainer.optimizers, self.trainer.lr_scheduler_configs
        done = schedule.scheduler.last_epoch
        for group in optimizer.param_groups:
            group.update({name: value for name, value in optimizer.defaults.items() if name in group})
            group["initial_lr"] = group["lr"]
            group["lr"] = group["initial_lr"] * self._warmup(done)
        schedule.scheduler.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]

    def optimizer_step(self, *arguments: Any, **settings: Any) -> None:
        super().optimizer_step(*arguments, **settings)
        self.ema.update(self.model)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        part = batch_idx % self.trainer.accumulate_grad_batches
        generator = self._generator(self.seed, self.global_rank, self.global_step, part)
        torch.manual_seed(generator.initial_seed())  # dropout draws from torch's own generators
        keep = torch.rand(len(batch["x0"]), generator=generator, device=self.device) >= self.model.conditioner.dropout
        cond = self._condition(self.model, batch, keep.tolist())
        loss = self.loss(self.model.denoiser, batch["x0"], cond, generator).mean()
        if not loss.isfinite():
            raise InputError(
                f"the loss became {loss.item()} at step {self.global_step}; the last checkpoint is kept. "
                "Lower optimizer.lr or trainer.gradient_clip_val, then go on with resume=true"
            )
        self.log("train/loss", loss)
        return loss

    @torch.no_grad()
    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """The loss of the averaged weights, with the same times and noise every time."""
        model: Model = self.ema.model  # type: ignore[assignment]
        x0, count = batch["x0"], len(batch["x0"])
        generator = self._generator(self.seed, self.global_rank, batch_idx, -1)
        noise = torch.randn(x0.shape, generator=generator, device=self.device, dtype=x0.dtype)
        spread = (torch.randperm(count, generator=generator, device=self.device) + 0.5) / count
        t = self.loss.times.quantile(spread, model.denoiser.schedule)
        losses = self.loss.at(model.denoiser, x0, noise, t, self._condition(model, batch, [True] * count))
        self.log("val/loss", losses.mean(), sync_dist=True, batch_size=count)
        level = torch.bucketize(model.denoiser.schedule.log_snr(t), torch.tensor(LEVELS, device=self.device))
        for i, name in enumerate(LEVEL_NAMES):
            chosen = losses[level == i]
            if len(chosen):
                self.log(f"val/{name}", chosen.mean(), sync_dist=True, batch_size=len(chosen))

    def _condition(self, model: Model, batch: dict[str, Any], keep: list[bool]) -> Any:
        reads = model.conditioner.reads
        values = [None] * len(keep) if reads is None else batch[reads]
        return model.condition([value if kept else None for value, kept in zip(values, keep, strict=True)])

    def _warmup(self, step: int) -> float:
        return min(1.0, (step + 1) / max(1, self.warmup_steps))

    def _generator(self, *key: int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(fold(*key) & 0x7FFFFFFFFFFFFFFF)
