"""What the objectives of few-step models share: the guidance built into the model, and points on its path."""

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from multidiff.diffusion.denoiser import Denoiser, NetworkDenoiser, coefficients
from multidiff.diffusion.objectives.base import Context, Objective, Trained
from multidiff.diffusion.objectives.times import TimeDistribution


@dataclass(frozen=True, kw_only=True)
class FewStep(Objective):
    """Base class of objectives for few-step models, which cross many noise levels in one evaluation.

    Args:
        times: distribution of the training times.
        guidance: scale that the model has learned to apply; of two, the lowest and the highest of a range, which the
            network takes as an input. Range: uniformly distributed, Meng et al. (2023), https://arxiv.org/abs/2210.03142.

    Raises:
        ValueError: ``guidance`` is not a positive number or an increasing pair of them.
    """

    times: TimeDistribution
    guidance: float | Sequence[float] = 1.0
    takes_teacher: ClassVar[bool] = True
    comparable: ClassVar[bool] = False  # the target moves with the student
    samplers: ClassVar[tuple[str, ...]]

    def __post_init__(self) -> None:
        low, high = self.scales
        if not 0 < low <= high < math.inf:
            raise ValueError(f"guidance must be a scale above 0, or the lowest and the highest, got {self.guidance}")

    @property
    def scales(self) -> tuple[float, float]:
        """The lowest and the highest guidance scale."""
        pair = self.guidance if isinstance(self.guidance, Sequence) else (self.guidance, self.guidance)
        if len(pair) != 2:
            raise ValueError(f"guidance must be one scale or two, got {self.guidance}")
        return float(pair[0]), float(pair[1])

    @property
    def inputs(self) -> tuple[str, ...]:
        return () if self.scales[0] == self.scales[1] else ("guidance",)

    @property
    def trained(self) -> Trained:
        return Trained(self.samplers, self.steps, self.scales)

    @property
    @abstractmethod
    def steps(self) -> int | None:
        """As `Trained.steps`."""

    def check(self, student: NetworkDenoiser, teacher: Denoiser | None, shape: tuple[int, ...]) -> None:
        if teacher is None and self.scales != (1.0, 1.0):
            raise ValueError(
                f"objective.guidance={self.guidance} needs a teacher: give teacher=MODEL_DIR, or objective.guidance=1"
            )

    def scale(self, context: Context) -> tuple[Tensor | None, Tensor | None]:
        """Guidance scales of the samples, ``(B,)``: of the target, None if it has no guidance, and of the network."""
        low, high = self.scales
        if low == high == 1:
            return None, None
        x0, generator = context.x0, context.generator
        uniform = torch.rand(len(x0), generator=generator, device=generator.device, dtype=torch.float32).to(x0)
        scale = low + (high - low) * uniform
        return scale, None if low == high else scale


def check_solution_map(student: NetworkDenoiser) -> None:
    """Refuse a denoiser that cannot be the solution map of its ODE, from any time to 0.

    Raises:
        ValueError: the map is not the identity at time 0, or does not depend on the network at time 1.
    """
    schedule, prediction = student.schedule, student.prediction
    start = torch.zeros(1, dtype=torch.float64)
    if prediction.gain(schedule.alpha(start), schedule.sigma(start)) != 0:
        name = type(prediction).__name__
        raise ValueError(f"the prediction {name} is not the identity at t = 0, as it must be: set prediction=velocity")
    check_start(student)


def check_start(student: NetworkDenoiser) -> None:
    """Refuse a denoiser whose estimate at time 1, where samples start, does not depend on the network.

    Raises:
        ValueError: it is of this kind.
    """
    schedule, prediction = student.schedule, student.prediction
    end = torch.ones(1, dtype=torch.float64)
    if prediction.gain(schedule.alpha(end), schedule.sigma(end)) == 0:
        names = type(prediction).__name__, type(schedule).__name__
        raise ValueError(f"the prediction {names[0]} gives no x0 at t = 1 of {names[1]}: set prediction=velocity")


def direction(context: Context, x_t: Tensor, t: Tensor, noise: Tensor, scale: Tensor | None) -> tuple[Tensor, Tensor]:
    """x0 and noise whose straight line through ``x_t`` is tangent to the ODE.

    Those of the sample, whose mean over all samples at ``x_t`` is tangent, or those of the teacher, exactly.
    """
    if context.teacher is None:
        return context.x0, noise
    a, sigma = coefficients(context.student.schedule, t, x_t)
    x0 = context.taught(x_t, t, scale)
    return x0, (x_t - a * x0) / sigma


def on_path(context: Context, t: Tensor, x0: Tensor, noise: Tensor) -> Tensor:
    """``alpha(t) x0 + sigma(t) noise``."""
    a, sigma = coefficients(context.student.schedule, t, x0)
    return a * x0 + sigma * noise


@contextmanager
def target_pass(x: Tensor) -> Iterator[None]:
    """Without gradients, and with the dropout masks that the next evaluation has."""
    with torch.no_grad(), torch.random.fork_rng([x.device] if x.is_cuda else []):
        yield
