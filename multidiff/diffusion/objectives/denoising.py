"""Denoising: regression of the prediction target on noisy samples."""

from dataclasses import dataclass

from torch import Tensor

from multidiff.diffusion.denoiser import coefficients
from multidiff.diffusion.objectives.base import Context, Objective
from multidiff.diffusion.objectives.times import TimeDistribution
from multidiff.diffusion.objectives.weighting import Weighting


@dataclass(frozen=True)
class Denoising(Objective):
    """Weighted squared error between the network output and the prediction target.

    Ho et al. (2020), https://arxiv.org/abs/2006.11239, for any schedule and prediction.
    """

    times: TimeDistribution
    weighting: Weighting

    def at(self, context: Context, t: Tensor, noise: Tensor) -> Tensor:
        student = context.student
        a, s = coefficients(student.schedule, t, context.x0)
        output = student.output(a * context.x0 + s * noise, t, context.cond)
        error = output - student.prediction.target(context.x0, noise, a, s)
        gain = student.prediction.gain(a, s).flatten()
        return self.weighting(student.schedule.log_snr(t), gain) * error.square().flatten(1).mean(1)
