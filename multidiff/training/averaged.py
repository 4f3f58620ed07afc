"""What trainings of diffusion models and of codecs share: the optimiser, the moving average, the checkpoints."""

from inspect import signature
from typing import Any

import lightning as L
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from multidiff.diffusion.noise import fold
from multidiff.training.ema import EMA, Decay
from multidiff.training.stability import Stability


class AveragedModule(L.LightningModule):
    """Trains a model and its moving average.

    The random numbers of a step depend on (seed, rank, step) alone. The parts of a step are numbered over processes and
    accumulated batches, so two processes equal one that accumulates two batches.

    Args:
        model: to train.
        decay: of the moving average.
        optimizer: of the parameters that train.
        warmup_steps: steps over which the learning rate rises linearly.
        cooldown: fraction of training, at its end, in which the learning rate falls linearly to zero.
        seed: of the random numbers.
        stability: handles non-finite gradients.

    Attributes:
        samples_seen: number of training samples so far, over all processes and resumes.
    """

    def __init__(
        self,
        model: nn.Module,
        decay: Decay,
        optimizer: Optimizer,
        warmup_steps: int,
        cooldown: float,
        seed: int,
        stability: Stability,
    ):
        super().__init__()
        self.model = model
        self.ema = EMA(model, decay)
        self.optimizer = optimizer
        self.warmup_steps, self.cooldown = warmup_steps, cooldown
        self.seed = seed
        self.stability = stability
        self.samples_seen = 0

    def configure_optimizers(self) -> dict[str, Any]:  # type: ignore[override]
        schedule = {"scheduler": LambdaLR(self.optimizer, self._share), "interval": "step"}
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
            group["lr"] = group["initial_lr"] * self._share(done)
        schedule.scheduler.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]

    def on_train_batch_start(self, *arguments: Any) -> None:
        """Log at the steps taken; at some resumes, Lightning counts the step of the checkpoint twice."""
        self.trainer.fit_loop.epoch_loop._batches_that_stepped = self.global_step

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip by the norm; a step with a non-finite gradient is skipped."""
        by_norm = gradient_clip_algorithm != "value"
        trained = [weight for group in optimizer.param_groups for weight in group["params"]]
        norm = self.stability.clip(trained, gradient_clip_val if by_norm else None)
        if self.global_step + 1 >= self.trainer.max_steps:
            self.stability.check_learned(self.global_step + 1)
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

    def generator(self, batch_idx: int) -> torch.Generator:
        """The random numbers of this part of the step; dropout, which uses torch's own generators, follows it."""
        part = batch_idx % self.trainer.accumulate_grad_batches
        generator = self.seeded(self.seed, self.global_step, part * self.trainer.world_size + self.global_rank)
        torch.manual_seed(generator.initial_seed())
        return generator

    def seeded(self, *key: int) -> torch.Generator:
        """A generator on the device of the model, of this key alone."""
        return torch.Generator(self.device).manual_seed(fold(*key) & 0x7FFFFFFFFFFFFFFF)

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

    def _share(self, step: int) -> float:
        """The learning rate of a step, as a fraction of that of the config."""
        rising = min(1.0, (step + 1) / max(1, self.warmup_steps))
        left = 1 - step / self.trainer.max_steps
        return rising * left / self.cooldown if left < self.cooldown else rising
