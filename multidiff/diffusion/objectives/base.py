"""What training minimises: the context of a batch, and the loss of each of its samples."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import Denoiser, NetworkDenoiser
from multidiff.diffusion.objectives.times import TimeDistribution


@dataclass(frozen=True)
class Context:
    """What an objective may use.

    Attributes:
        student: the denoiser in training.
        x0: clean samples, ``(B, C, *size)``.
        cond: conditions of the samples.
        generator: of random numbers, on the device of ``x0``.
        ema: the moving average of the student.
        teacher: a frozen denoiser.
        step: number of optimiser steps done.
        progress: fraction of the training done, in [0, 1].
    """

    student: NetworkDenoiser
    x0: Tensor
    cond: Conditioning | None
    generator: torch.Generator
    ema: NetworkDenoiser | None = None
    teacher: Denoiser | None = None
    step: int = 0
    progress: float = 0.0


class Objective(ABC):
    """A loss at random times with random noise.

    Attributes:
        times: how often training visits each time.
        needs_teacher: whether the context must have a teacher.
    """

    times: TimeDistribution
    needs_teacher: ClassVar[bool] = False

    def __call__(self, context: Context) -> Tensor:
        """The loss of each sample, ``(B,)``, with times and noise from the generator of the context."""
        x0, generator = context.x0, context.generator
        t = self.times.sample(context.student.schedule, len(x0), generator)
        noise = torch.randn(x0.shape, generator=generator, device=x0.device, dtype=x0.dtype)
        return self.at(context, t, noise)

    @abstractmethod
    def at(self, context: Context, t: Tensor, noise: Tensor) -> Tensor:
        """The loss of each sample, ``(B,)``, at times ``t``, ``(B,)``, for ``noise`` like x0."""
