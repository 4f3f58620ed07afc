"""Denoising: regression of the prediction target on noisy samples."""

from dataclasses import dataclass

import torch
from torch import Tensor

from multidiff.diffusion.denoiser import coefficients
from multidiff.diffusion.objectives.base import Context, Objective
from multidiff.diffusion.objectives.times import TimeDistribution
from multidiff.diffusion.objectives.weighting import Weighting


@dataclass(frozen=True)
class Denoising(Objective):
    """Weighted squared error between the network output and the prediction target.

    Ho et al. (2020), https://arxiv.org/abs/2006.11239, for any schedule and prediction.

    Args:
        times: at which it is measured.
        weighting: of noise levels.
        offset: standard deviation of noise that is constant over each channel of a sample, added in training, so that a
            pretrained model learns to change the mean of a sample, as of dark pictures. Guttenberg (2023),
            https://www.crosslabs.org/blog/diffusion-with-offset-noise.

    Raises:
        ValueError: ``offset`` is below 0.
    """

    times: TimeDistribution
    weighting: Weighting
    offset: float = 0.0

    def __post_init__(self) -> None:
        if not self.offset >= 0:
            raise ValueError(f"the offset of noise is at least 0, got {self.offset}")

    def noise(self, x0: Tensor, generator: torch.Generator) -> Tensor:
        noise = super().noise(x0, generator)
        if not self.offset:
            return noise
        means = torch.randn(x0.shape[:2], generator=generator, device=x0.device, dtype=x0.dtype)
        return noise + self.offset * means.reshape(*means.shape, *[1] * (x0.ndim - 2))

    def at(self, context: Context, t: Tensor, noise: Tensor) -> Tensor:
        student = context.student
        a, s = coefficients(student.schedule, t, context.x0)
        output = student.output(a * context.x0 + s * noise, t, context.cond)
        error = output - student.prediction.target(context.x0, noise, a, s)
        gain = student.prediction.gain(a, s).flatten()
        return self.weighting(student.schedule.log_snr(t), gain) * error.square().flatten(1).mean(1)
