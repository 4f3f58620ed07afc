"""The training step, the validation loss and the optimiser, for any modality."""

from inspect import signature
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from multidiff.diffusion.noise import NoiseSource, fold, sample_seeds
from multidiff.diffusion.objectives import Context, Objective
from multidiff.model import Model
from multidiff.training.ema import EMA, Decay
from multidiff.training.stability import Stability, nan_unless_finite
from multidiff.training.teacher import Teacher

EDGES = (-2.0, 0.0, 2.0)
"""Boundaries, in log SNR, of the ranges of noise that the validation loss is reported for."""

SPREAD = (5**0.5 - 1) / 2
"""Multiples of the golden section, modulo 1, are evenly spread, however many there are."""

RANGES = ("log_snr_below_-2", "log_snr_-2_to_0", "log_snr_0_to_2", "log_snr_above_2")


class DiffusionModule(L.LightningModule):
    """Trains a model and its moving average.

    Times, noise, dropout and dropped conditions of a step depend on (seed, rank, step) alone. The parts of a step are
    numbered over processes and accumulated batches, so two processes equal one that accumulates two batches.

    Args:
        model: to train.
        objective: to minimise.
        decay: of the moving average.
        optimizer: of the parameters of ``model``.
        warmup_steps: steps over which the learning rate rises linearly.
        seed: of the times and the noise.
        stability: handles non-finite gradients.
        teacher: a frozen model, for objectives that need one.

    Attributes:
        samples_seen: number of training samples so far, over all processes and resumes.
    """

    losses: Tensor

    def __init__(
        self,
        model: Model,
        objective: Objective,
        decay: Decay,
        optimizer: Optimizer,
        warmup_steps: int,
        seed: int,
        stability: Stability,
        teacher: Teacher | None = None,
    ):
        super().__init__()
        self.model = model
        self.ema = EMA(model, decay)
        self.objective = objective
        self.teacher = teacher
        self.optimizer = optimizer
        self.warmup_steps = warmup_steps
        self.seed = seed
        self.stability = stability
        self.samples_seen = 0
        self.register_buffer("losses", torch.zeros(2, len(RANGES)), persistent=False)

    def configure_optimizers(self) -> dict[str, Any]:  # type: ignore[override]
        schedule = {"scheduler": LambdaLR(self.optimizer, self._warmup), "interval": "step"}
        return {"optimizer": self.optimizer, "lr_scheduler": schedule}

    def on_train_start(self) -> None:
        """Apply the optimiser settings of the config, which override those restored from a checkpoint."""
        (optimizer,), (schedule,) = self.trainer.optimizers, self.trainer.lr_scheduler_configs
        done, settings = schedule.scheduler.last_epoch, signature(type(optimizer)).parameters
        if hasattr(optimizer, "train"):
            optimizer.train()  # schedule-free optimisers continue where the checkpoint left off
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
        """Clip by the norm; a step with a non-finite gradient is skipped."""
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
        torch.manual_seed(generator.initial_seed())  # for dropout, which uses torch's own generators
        fields = self.model.conditioner.dropped(self.model.conditioner.known(batch["fields"]), generator)
        context = Context(
            student=self.model.denoiser,
            ema=self._averaged.denoiser,
            teacher=None if self.teacher is None else self.teacher.denoiser(fields),
            x0=self.model.encode(batch["data"]),
            cond=self.model.condition(fields),
            generator=generator,
            step=self.global_step,
            progress=self.global_step / self.trainer.max_steps,
        )
        loss = self.objective(context).mean()
        self.samples_seen += len(batch["data"]) * self.trainer.world_size
        self.log("train/loss", loss)
        return nan_unless_finite(loss)

    def on_validation_epoch_start(self) -> None:
        self.losses.zero_()

    @torch.no_grad()
    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """The loss of the averaged weights; the time and noise of a sample are fixed."""
        model, count = self._averaged, len(batch["data"])
        x0 = model.encode(batch["data"])
        first, processes = batch_idx * self.trainer.datamodule.batch_size, self.trainer.world_size  # type: ignore[attr-defined]
        places = [(first + row) * processes + self.global_rank for row in range(count)]
        seeds = [seed for place in places for seed in sample_seeds(self.seed, place, place + 1)]
        noise = NoiseSource(seeds, x0.shape[1:], x0.dtype, self.device).start()
        spread = torch.tensor([(0.5 + place * SPREAD) % 1 for place in places], device=self.device)
        t = self.objective.times.quantile(spread, model.denoiser.schedule)
        context = Context(
            student=model.denoiser,
            ema=model.denoiser,
            teacher=None if self.teacher is None else self.teacher.denoiser(batch["fields"]),
            x0=x0,
            cond=model.condition(model.conditioner.known(batch["fields"])),
            generator=self._generator(self.seed, *places[:1]),
            step=self.global_step,
            progress=self.global_step / self.trainer.max_steps,
        )
        losses = self.objective.at(context, t, noise)
        part = torch.bucketize(model.denoiser.schedule.log_snr(t), torch.tensor(EDGES, device=self.device))
        self.losses.index_add_(1, part, torch.stack([losses, torch.ones_like(losses)]))

    def on_validation_epoch_end(self) -> None:
        """Log the mean loss over the samples of all processes, and that of each range of noise."""
        sums, counts = self.trainer.strategy.reduce(self.losses.clone(), reduce_op="sum")
        self.log("val/loss", sums.sum() / counts.sum())
        for name, total, count in zip(RANGES, sums, counts, strict=True):
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

    @property
    def _averaged(self) -> Model:
        return self.ema.model  # type: ignore[return-value]

    def _warmup(self, step: int) -> float:
        return min(1.0, (step + 1) / max(1, self.warmup_steps))

    def _generator(self, *key: int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(fold(*key) & 0x7FFFFFFFFFFFFFFF)
