"""Warnings about codecs that a diffusion model would learn badly from, with the figures."""

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import lightning as L
import torch
from torch import Tensor

from multidiff.codecs.learned import UNIT
from multidiff.training.callbacks import RunCallback

if TYPE_CHECKING:
    from multidiff.training.base_run import BaseRun

log = logging.getLogger(__name__)

LEAST = 0.05
"""Nats a position below which a channel of the latents carries nothing."""

TRAINING, HELD_OUT, PATCHES = 128, 32, 8192
"""Samples that the linear projection is computed from and compared on, and their patches, at most."""


class CodecChecks(RunCallback):
    """Logs how much latents carry and how they compare with a linear projection, and warns from half of training on."""

    def attach(self, run: "BaseRun") -> None:
        from multidiff.training.codec_run import CodecRun  # noqa: PLC0415  which imports this module

        assert isinstance(run, CodecRun)
        self.module, self.said = run.module, set[str]()
        where = run.module.model.locality
        self.data = run.held_out(HELD_OUT)
        self.linear: float | None = None
        if where is not None:
            self.data = whole_blocks(self.data, where.factor)
            channels = run.module.model.bottleneck.channels
            self.linear = linear_error(run.training(TRAINING), self.data, where.factor, channels)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._check(trainer, trainer.global_step >= trainer.max_steps / 2)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._check(trainer, True)

    def _check(self, trainer: L.Trainer, late: bool) -> None:
        if not trainer.is_global_zero or trainer.sanity_checking:
            return
        figures = self.figures()
        for logger in trainer.loggers:
            logger.log_metrics({f"codec/{name}": value for name, value in figures.items()}, trainer.global_step)
        for kind, warning in warnings(figures) if late else ():
            if kind not in self.said:
                self.said.add(kind)
                log.warning("step %d: %s", trainer.global_step, warning)

    @torch.no_grad()
    def figures(self) -> dict[str, float]:
        """The squared errors of the averaged codec and of a linear one, and the information and scale of latents."""
        network, data = self.module.averaged, self.data.to(self.module.device)
        latents = network.latents(data)
        deviations = latents.values.transpose(0, 1).flatten(1).std(dim=1)
        figures = {
            "channels": float(len(deviations)),
            "collapsed_channels": float((latents.nats < LEAST).sum()),
            "nats": float(latents.nats.mean()),
            "smallest_deviation": float(deviations.min()),
            "largest_deviation": float(deviations.max()),
        }
        if self.linear is None:
            return figures
        error = (network.decode(latents.values) - data).square().mean()
        return figures | {"squared_error": float(error), "linear_squared_error": self.linear}


def warnings(figures: dict[str, float]) -> Iterator[tuple[str, str]]:
    """What is wrong with a codec of these figures: the kind, and a sentence."""
    collapsed, channels = int(figures["collapsed_channels"]), int(figures["channels"])
    if collapsed:
        yield (
            "collapse",
            f"{collapsed} of {channels} channels of the latents carry less than {LEAST} nats a position: lower "
            "autoencoder.bottleneck.weight, or give the bottleneck fewer channels",
        )
    low, high = figures["smallest_deviation"], figures["largest_deviation"]
    if low < UNIT[0] or high > UNIT[1]:
        yield (
            "scale",
            f"the standard deviations of the latents are {low:.3g} to {high:.3g}, far from 1: raise "
            "autoencoder.bottleneck.weight if they are large, lower it if they are small",
        )
    error, linear = figures.get("squared_error"), figures.get("linear_squared_error")
    if error is not None and linear is not None and error > linear:
        yield (
            "linear",
            f"the squared error of reconstructions is {error:.3g}, above the {linear:.3g} of a linear projection to as "
            "many numbers: train longer, or with a larger autoencoder",
        )


def linear_error(training: Tensor, held_out: Tensor, factor: int, components: int) -> float:
    """The mean squared error of projecting blocks of ``held_out`` on the principal components of those of ``training``.

    Args:
        training: ``(N, C, *size)``.
        held_out: likewise.
        factor: positions of a block along each axis.
        components: numbers that a block becomes.
    """
    rows = blocks(whole_blocks(training, factor), factor).double()
    rows = rows[:: -(-len(rows) // PATCHES)]
    mean = rows.mean(dim=0)
    _, axes = torch.linalg.eigh((rows - mean).mT @ (rows - mean))
    kept = axes[:, -components:]
    centred = blocks(held_out, factor).double() - mean
    return float((centred - centred @ kept @ kept.mT).square().mean())


def blocks(x: Tensor, factor: int) -> Tensor:
    """Blocks of ``factor`` positions along each axis as rows, ``(blocks, C * factor ** dims)``."""
    dims = x.ndim - 2
    for axis in range(2, x.ndim):
        x = x.unfold(axis, factor, factor)
    return x.movedim(1, 1 + dims).flatten(1 + dims).flatten(0, dims)


def whole_blocks(x: Tensor, factor: int) -> Tensor:
    """``x`` cut to whole blocks of ``factor`` positions along each axis."""
    for axis in range(2, x.ndim):
        x = x.narrow(axis, 0, x.shape[axis] // factor * factor)
    return x
