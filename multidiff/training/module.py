"""The training step and the validation loss of diffusion models, for any modality."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from multidiff.diffusion.denoiser import NetworkDenoiser
from multidiff.diffusion.noise import NoiseSource, sample_seeds
from multidiff.diffusion.objectives import Context, Objective
from multidiff.errors import InputError, refusals
from multidiff.model import Model
from multidiff.training.averaged import AveragedModule
from multidiff.training.ema import Decay
from multidiff.training.masks import random_masks
from multidiff.training.stability import Stability, nan_unless_finite
from multidiff.training.teacher import Teacher

EDGES = (-2.0, 0.0, 2.0)
"""Boundaries, in log SNR, of the ranges of noise that the validation loss is reported for."""

SPREAD = (5**0.5 - 1) / 2
"""Multiples of the golden section, modulo 1, are evenly spread, however many there are."""

RANGES = ("log_snr_below_-2", "log_snr_-2_to_0", "log_snr_0_to_2", "log_snr_above_2")


class DiffusionModule(AveragedModule):
    """Trains a model and its moving average.

    Times, noise, dropout and dropped conditions of a step depend on (seed, rank, step) alone.

    Args:
        model: to train.
        objective: to minimise.
        decay: of the moving average.
        optimizer: of the parameters of ``model``.
        warmup_steps: steps over which the learning rate rises linearly.
        cooldown: fraction of training, at its end, in which the learning rate falls linearly to zero.
        seed: of the times and the noise.
        stability: handles non-finite gradients.
        teacher: a frozen model, for objectives that need one.
        encoded: whether the data are encoded already.
        fake_score: a second network that the objective trains, whose parameters ``optimizer`` has too.
    """

    model: Model
    losses: Tensor

    def __init__(
        self,
        model: Model,
        objective: Objective,
        decay: Decay,
        optimizer: Optimizer,
        warmup_steps: int,
        cooldown: float,
        seed: int,
        stability: Stability,
        teacher: Teacher | None = None,
        encoded: bool = False,
        fake_score: NetworkDenoiser | None = None,
    ):
        super().__init__(model, decay, optimizer, warmup_steps, cooldown, seed, stability)
        self.objective = objective
        self.teacher = teacher
        self.encoded = encoded
        self.fake_score = fake_score
        self.register_buffer("losses", torch.zeros(2, len(RANGES)), persistent=False)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        generator = self.generator(batch_idx)
        fields = self.model.conditioner.dropped(self.model.conditioner.known(batch["fields"]), generator)
        x0, student = self._seen(batch, self.model.denoiser, generator)
        context = Context(
            student=student,
            ema=self.averaged.denoiser,
            teacher=None if self.teacher is None else self.teacher.denoiser,
            teacher_cond=None if self.teacher is None else self.teacher.condition(fields),
            fake_score=self.fake_score,
            x0=x0,
            cond=self.model.condition(fields),
            generator=generator,
            step=self.global_step,
            progress=self.global_step / self.trainer.max_steps,
        )
        with refusals():
            loss = per_sample(self.objective(context), x0).mean()
        self.samples_seen += len(batch["data"]) * self.trainer.world_size
        self.log("train/loss", loss)
        return nan_unless_finite(loss)

    def on_validation_epoch_start(self) -> None:
        self.losses.zero_()

    @torch.no_grad()
    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """The loss of the averaged weights; the time and noise of a sample are fixed."""
        model, count = self.averaged, len(batch["data"])
        first, processes = batch_idx * self.trainer.datamodule.batch_size, self.trainer.world_size  # type: ignore[attr-defined]
        places = [(first + row) * processes + self.global_rank for row in range(count)]
        seeds = [seed for place in places for seed in sample_seeds(self.seed, place, place + 1)]
        generator = self.seeded(self.seed, *places[:1])
        x0, denoiser = self._seen(batch, model.denoiser, generator)
        noise = NoiseSource(seeds, x0.shape[1:], x0.dtype, self.device).start()
        spread = torch.tensor([(0.5 + place * SPREAD) % 1 for place in places], device=self.device)
        t = self.objective.times.quantile(spread, model.denoiser.schedule)
        context = Context(
            student=denoiser,
            ema=denoiser,
            teacher=None if self.teacher is None else self.teacher.denoiser,
            teacher_cond=None if self.teacher is None else self.teacher.condition(batch["fields"]),
            fake_score=self.fake_score,
            x0=x0,
            cond=model.condition(model.conditioner.known(batch["fields"])),
            generator=generator,
            step=self.global_step,
            progress=self.global_step / self.trainer.max_steps,
        )
        losses = per_sample(self.objective.at(context, t, noise), x0)
        part = torch.bucketize(model.denoiser.schedule.log_snr(t), torch.tensor(EDGES, device=self.device))
        self.losses.index_add_(1, part, torch.stack([losses, torch.ones_like(losses)]))

    def on_validation_epoch_end(self) -> None:
        """Log the mean loss over the samples of all processes, and that of each range of noise."""
        sums, counts = self.trainer.strategy.reduce(self.losses.clone(), reduce_op="sum")
        self.log("val/loss", sums.sum() / counts.sum())
        for name, total, count in zip(RANGES, sums, counts, strict=True):
            if count:
                self.log(f"val/{name}", total / count)

    def _seen(
        self, batch: dict[str, Any], denoiser: NetworkDenoiser, generator: torch.Generator
    ) -> tuple[Tensor, NetworkDenoiser]:
        """x0, and the denoiser, which for inpainting sees a random mask of each sample and the rest of it."""
        data: Tensor = batch["data"]
        x0 = data if self.encoded else self.model.encode(data)
        if not denoiser.masked:
            return x0, denoiser
        masks = random_masks(data, generator)
        regions = torch.stack([self.model.codec.region(mask) for mask in masks])
        return x0, denoiser.seeing(regions, self.model.encode(torch.where(masks, 0.0, data)))

    @property
    def averaged(self) -> Model:
        """The moving average of the model."""
        return self.ema.model  # type: ignore[return-value]


def per_sample(losses: Tensor, x0: Tensor) -> Tensor:
    """The ``losses`` of an objective.

    Raises:
        InputError: they are not one for each sample of ``x0``.
    """
    if losses.shape != x0.shape[:1]:
        raise InputError(f"an objective returns a loss for each sample, ({len(x0)},), got {tuple(losses.shape)}")
    return losses
