"""Distillation: regression of the student on the estimates of a teacher."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from multidiff.diffusion.denoiser import coefficients
from multidiff.diffusion.objectives.base import Context, Objective
from multidiff.diffusion.objectives.times import TimeDistribution
from multidiff.diffusion.objectives.weighting import Weighting


@dataclass(frozen=True)
class Distillation(Objective):
    """Weighted squared error between the student's output and the output that gives the teacher's x0 estimate.

    The teacher may have any size and prediction. Its estimates vary less than the samples that `Denoising` regresses
    on, so the gradients of the student have a lower variance. Hinton et al. (2015), https://arxiv.org/abs/1503.02531.

    Raises:
        ValueError: on a call, if the context has no teacher.
    """

    times: TimeDistribution
    weighting: Weighting
    takes_teacher: ClassVar[bool] = True
    needs_teacher: ClassVar[bool] = True

    def at(self, context: Context, t: Tensor, noise: Tensor) -> Tensor:
        student = context.student
        a, s = coefficients(student.schedule, t, context.x0)
        x_t = a * context.x0 + s * noise
        with torch.no_grad():
            estimate = context.taught(x_t, t)
            target = student.prediction.target(estimate, (x_t - a * estimate) / s, a, s)
        error = student.output(x_t, t, context.cond) - target
        gain = student.prediction.gain(a, s).flatten()
        return self.weighting(student.schedule.log_snr(t), gain) * error.square().flatten(1).mean(1)
