"""The training step, the validation loss and the optimiser, for any modality."""

from collections.abc import Callable, Iterable
from inspect import signature
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from multidiff.diffusion.losses import DiffusionLoss
from multidiff.diffusion.noise import NoiseSource, fold, sample_seeds
from multidiff.model import Model
from multidiff.training.ema import EMA, Decay
from multidiff.training.stability import Stability, not_a_number_unless_finite

LEVELS = (-2.0, 0.0, 2.0)
"""Edges, in log SNR, of the noise levels that the validation loss is reported for."""

SPREAD = (5**0.5 - 1) / 2
"""Multiples of the golden section, modulo 1, are evenly spread, however many there are."""

LEVEL_NAMES = ("log_snr_below_-2", "log_snr_-2_to_0", "log_snr_0_to_2", "log_snr_above_2")


class DiffusionModule(L.LightningModule):
    """Trains a model and its moving average.

    Times, noise, dropout and dropped conditions of a step depend on (seed, rank, step) alone. The parts of a step are
    numbered through over processes and accumulated batches, so two processes train as one that accumulates two batches.

    Args:
        model: what is trained.
        loss: what is minimised.
        decay: of the moving average.
        optimizer: from parameters to an optimiser.
        warmup_steps: steps over which the learning rate rises linearly.
        seed: of the times and the noise.
        stability: what is done about gradients that are no numbers.

    Attributes:
        samples_seen: training samples so far, over all processes and resumes.
    """

    losses: Tensor

    def __init__(
        self,
        model: Model,
        loss: DiffusionLoss,
        decay: Decay,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        warmup_steps: int,
        seed: int,
        stability: Stability,
    ):
        super().__init__()
        self.model = model
        self.ema = EMA(model, decay)
        self.loss = loss
        self.optimizer = optimizer
        self.warmup_steps = warmup_steps
        self.seed = seed
        self.stability = stability
        self.samples_seen = 0
        self.register_buffer("losses", torch.zeros(2, len(LEVEL_NAMES)), persistent=False)

    def configure_optimizers(self) -> dict[str, Any]:  # type: ignore[override]
        optimizer = self.optimizer(self.model.parameters())
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": LambdaLR(optimizer, self._warmup), "interval": "step"},
        }

    def on_train_start(self) -> None:
        """Set the optimiser as the config says, which may be otherwise than before a resume."""
        (optimizer,), (schedule,) = self.trainer.optimizers, self.trainer.lr_scheduler_configs
        done, settings = schedule.scheduler.last_epoch, signature(type(optimizer)).parameters
        if hasattr(optimizer, "train"):
            optimizer.train()  # schedule-free ones say so, and go on from where a checkpoint was
        for group in optimizer.param_groups:
            group.update(
                {name: value for name, value in optimizer.defaults.items() if name in group and name in settings}
            )
            group["initial_lr"] = group["lr"]
            group["lr"] = group["initial_lr"] * self._warmup(done)
        schedule.scheduler.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip by the norm, and let a gradient that is no number change nothing."""
        by_norm = gradient_clip_algorithm != "value"
        norm = self.stability.clip(self.model.parameters(), gradient_clip_val if by_norm else None)
        if not by_norm:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        self.log("train/gradient_norm", norm)
        self.log("train/gradient_norm_spikes", float(self.stability.spikes))
        self.log("train/skipped_steps", float(self.stability.skipped))

    def optimizer_step(self, *arguments: Any, **settings: Any) -> None:
        super().optimizer_step(*arguments, **settings)
        if not self.stability.in_row:
            with self.trainer.profiler.profile("ema"):  # type: ignore[attr-defined]
                self.ema.update(self.model)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        part = batch_idx % self.trainer.accumulate_grad_batches
        generator = self._generator(self.seed, self.global_step, part * self.trainer.world_size + self.global_rank)
        torch.manual_seed(generator.initial_seed())  # dropout draws from torch's own generators
        keep = torch.rand(len(batch["x0"]), generator=generator, device=self.device) >= self.model.conditioner.dropout
        cond = self._condition(self.model, batch, keep.tolist())
        loss = self.loss(self.model.denoiser, batch["x0"], cond, generator).mean()
        self.samples_seen += len(batch["x0"]) * self.trainer.world_size
        self.log("train/loss", loss)
        return not_a_number_unless_finite(loss)

    def on_validation_epoch_start(self) -> None:
        self.losses.zero_()

    @torch.no_grad()
    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """The loss of the averaged weights, with the same time and noise for a sample every time, on any process."""
        model: Model = self.ema.model  # type: ignore[assignment]
        x0, count = batch["x0"], len(batch["x0"])
        first, processes = batch_idx * self.trainer.datamodule.batch_size, self.trainer.world_size  # type: ignore[attr-defined]
        places = [(first + row) * processes + self.global_rank for row in range(count)]
        seeds = [seed for place in places for seed in sample_seeds(self.seed, place, place + 1)]
        noise = NoiseSource(seeds, x0.shape[1:], x0.dtype, self.device).start()
        spread = torch.tensor([(0.5 + place * SPREAD) % 1 for place in places], device=self.device)
        t = self.loss.times.quantile(spread, model.denoiser.schedule)
        losses = self.loss.at(model.denoiser, x0, noise, t, self._condition(model, batch, [True] * count))
        level = torch.bucketize(model.denoiser.schedule.log_snr(t), torch.tensor(LEVELS, device=self.device))
        self.losses.index_add_(1, level, torch.stack([losses, torch.ones_like(losses)]))

    def on_validation_epoch_end(self) -> None:
        """Log the mean loss, over the samples of all processes, in all and at each noise level that any of them had."""
        sums, counts = self.trainer.strategy.reduce(self.losses.clone(), reduce_op="sum")
        self.log("val/loss", sums.sum() / counts.sum())
        for name, total, count in zip(LEVEL_NAMES, sums, counts, strict=True):
            if count:
                self.log(f"val/{name}", total / count)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["stability"] = self.stability.state_dict()
        checkpoint["samples_seen"] = self.samples_seen

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.stability.load_state_dict(checkpoint.get("stability", {}))
        self.samples_seen = checkpoint.get("samples_seen", 0)
        batches = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        done = checkpoint["global_step"] * self.trainer.accumulate_grad_batches
        late = done - batches["current"]["ready"]  # other than 0 if a step was another number of batches before
        for counts in (batches["total"], batches["current"]):
            counts.update({name: count + late for name, count in counts.items()})

    def _condition(self, model: Model, batch: dict[str, Any], keep: list[bool]) -> Any:
        reads = model.conditioner.reads
        values = [None] * len(keep) if reads is None else batch[reads]
        return model.condition([value if kept else None for value, kept in zip(values, keep, strict=True)])

    def _warmup(self, step: int) -> float:
        return min(1.0, (step + 1) / max(1, self.warmup_steps))

    def _generator(self, *key: int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(fold(*key) & 0x7FFFFFFFFFFFFFFF)
