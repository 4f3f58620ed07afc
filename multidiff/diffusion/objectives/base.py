"""The objective interface, and the context in which an objective is evaluated."""

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
    """Inputs of an objective for one batch.

    Attributes:
        student: the denoiser that is trained.
        x0: clean samples, ``(B, C, *size)``.
        cond: conditions of the samples, or None.
        generator: random generator on the device of ``x0``.
        ema: exponential moving average of the student, or None.
        teacher: a frozen denoiser, or None.
        step: number of completed optimiser steps.
        progress: completed fraction of the training, in [0, 1].
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
    """A training loss, evaluated at random times with random noise.

    Attributes:
        times: distribution of the training times.
        needs_teacher: whether the context must have a teacher.
    """

    times: TimeDistribution
    needs_teacher: ClassVar[bool] = False

    def __call__(self, context: Context) -> Tensor:
        """The loss of each sample, ``(B,)``, at times and noise sampled with the generator of the context."""
        x0, generator = context.x0, context.generator
        t = self.times.sample(context.student.schedule, len(x0), generator)
        noise = torch.randn(x0.shape, generator=generator, device=x0.device, dtype=x0.dtype)
        return self.at(context, t, noise)

    @abstractmethod
    def at(self, context: Context, t: Tensor, noise: Tensor) -> Tensor:
        """The loss of each sample, ``(B,)``, for times ``t``, ``(B,)``, and ``noise`` like x0."""
