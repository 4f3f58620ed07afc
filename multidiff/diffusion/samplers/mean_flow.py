"""Sampling with average velocities, of models with a second time."""

from dataclasses import dataclass

from torch import Tensor

from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.samplers.base import Denoise, History, Sampler
from multidiff.diffusion.samplers.noise_level import NoiseLevel
from multidiff.diffusion.schedules import Schedule


@dataclass(frozen=True)
class MeanFlow(Sampler):
    """Steps with the average velocity from t to s, ``y_s = y_t - (r_t - r_s) u(y_t, t, s)``: exact for an exact u.

    Here ``y = x / (alpha + sigma)`` and ``r = sigma / (alpha + sigma)``. With the estimate ``x0 = y_t - r_t u`` for the
    second time s, it is ``y_s = (r_s / r_t) y_t + (1 - r_s / r_t) x0``. Geng et al. (2025), algorithm 2,
    https://arxiv.org/abs/2505.13447, which is a single step.
    """

    schedule: Schedule
    evaluations = 1
    order = 0
    second_time = True

    def step(self, denoise: Denoise, x_t: Tensor, t: Tensor, s: Tensor, history: History, noise: NoiseSource) -> Tensor:
        here, there = NoiseLevel.at(self.schedule, t), NoiseLevel.at(self.schedule, s)
        width, end = here.alpha + here.sigma, there.alpha + there.sigma
        kept = there.sigma / end * width / here.sigma
        return end * (kept / width * x_t + (1 - kept) * denoise(x_t, t, s))
