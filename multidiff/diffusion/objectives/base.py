"""The objective interface, and the context in which an objective is evaluated."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import Denoiser, NetworkDenoiser
from multidiff.diffusion.guidance import guided
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
        teacher_cond: the teacher's own conditions of the samples, or None.
        fake_score: a second network that is trained, on the student's samples, or None.
        step: number of completed optimiser steps.
        progress: completed fraction of the training, in [0, 1].
    """

    student: NetworkDenoiser
    x0: Tensor
    cond: Conditioning | None
    generator: torch.Generator
    ema: NetworkDenoiser | None = None
    teacher: Denoiser | None = None
    teacher_cond: Conditioning | None = None
    fake_score: NetworkDenoiser | None = None
    step: int = 0
    progress: float = 0.0

    @torch.no_grad()
    def taught(self, x_t: Tensor, t: Tensor, scale: Tensor | None = None) -> Tensor:
        """The teacher's x0 estimate under its own conditions, guided by ``scale``, ``(B,)``; None is no guidance.

        Raises:
            ValueError: there is no teacher.
        """
        if self.teacher is None:
            raise ValueError("this objective learns from a teacher: set teacher=MODEL_DIR")
        return guided(self.teacher, scale)(x_t, t, self.teacher_cond)


@dataclass(frozen=True)
class Trained:
    """How a model that was trained with an objective is sampled; saved with the model.

    Attributes:
        samplers: names of the samplers that suit the model; empty for any of a denoiser.
        steps: number of steps beyond which more steps do not bring the samples closer to the data; None for no limit.
        guidance: lowest and highest guidance scale that the network applies by itself in one evaluation; None for a
            denoiser, which is guided by further evaluations.
    """

    samplers: tuple[str, ...] = ()
    steps: int | None = None
    guidance: tuple[float, float] | None = None


class Objective(ABC):
    """A training loss, evaluated at random times with random noise.

    Attributes:
        times: distribution of the training times.
        takes_teacher: whether the context may have a teacher.
        needs_teacher: whether it must have one.
        needs_fake_score: whether it trains a second network, which starts as a copy of the student.
        comparable: whether losses of different steps of a training measure the same, and a lower one is better.
    """

    times: TimeDistribution
    takes_teacher: ClassVar[bool] = False
    needs_teacher: ClassVar[bool] = False
    needs_fake_score: ClassVar[bool] = False
    comparable: ClassVar[bool] = True

    @property
    def inputs(self) -> tuple[str, ...]:
        """Further inputs that the network needs: ``second_time``, ``guidance``."""
        return ()

    @property
    def partial(self) -> bool:
        """Whether there are steps in which some of the trained weights have no gradient."""
        return False

    @property
    def trained(self) -> Trained:
        """How the trained model is sampled."""
        return Trained()

    def check(self, student: NetworkDenoiser, teacher: Denoiser | None, shape: tuple[int, ...]) -> None:  # noqa: B027
        """Refuse a model that cannot be trained with this objective.

        Args:
            student: the denoiser that will be trained.
            teacher: the frozen denoiser, or None.
            shape: of x0, ``(C, *size)``.

        Raises:
            ValueError: the schedule, the prediction or the network does not allow it; the message says why.
        """

    def __call__(self, context: Context) -> Tensor:
        """The loss of each sample, ``(B,)``, at times and noise sampled with the generator of the context."""
        x0, generator = context.x0, context.generator
        t = self.times.sample(context.student.schedule, len(x0), generator)
        return self.at(context, t, self.noise(x0, generator))

    def noise(self, x0: Tensor, generator: torch.Generator) -> Tensor:
        """The noise of training samples, like ``x0``; standard normal unless an objective says otherwise."""
        return torch.randn(x0.shape, generator=generator, device=x0.device, dtype=x0.dtype)

    @abstractmethod
    def at(self, context: Context, t: Tensor, noise: Tensor) -> Tensor:
        """The loss of each sample, ``(B,)``, for times ``t``, ``(B,)``, and ``noise`` like x0."""
