"""A custom sampler, its order measured on an exact denoiser.

python examples/sampler.py        prints the error at 40, 80 and 160 steps, and the order that follows
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from multidiff.diffusion.grids import UniformLogSNR
from multidiff.diffusion.mixture import GaussianMixture
from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.samplers import DPMSolverMultistep, Sampler, sample
from multidiff.diffusion.samplers.base import Denoise, History
from multidiff.diffusion.schedules import Cosine, Schedule


@dataclass(frozen=True)
class Ralston(Sampler):
    """Ralston's method on the probability flow ODE ``dx/dr = (x - x0) / r``, for ``r = sigma / alpha`` and x / alpha.

    Two evaluations a step: at r, and at two thirds of the way to the next r. Ralston (1962),
    https://doi.org/10.1090/S0025-5718-1962-0150954-0.
    """

    schedule: Schedule
    evaluations = 2
    order = 2

    def step(self, denoise: Denoise, x_t: Tensor, t: Tensor, s: Tensor, history: History, noise: NoiseSource) -> Tensor:
        alpha, r = self.schedule.alpha(t), torch.exp(-self.schedule.log_snr(t))
        end = torch.exp(-self.schedule.log_snr(s))
        if s == 0:
            return self.schedule.alpha(s) * denoise(x_t, t)
        z = x_t / alpha
        first = (z - denoise(x_t, t)) / r
        middle = r + (end - r) * (2 / 3)
        u = self.schedule.time(-middle.log())
        at_middle = z + (middle - r) * first
        second = (at_middle - denoise(self.schedule.alpha(u) * at_middle, u)) / middle
        return self.schedule.alpha(s) * (z + (end - r) * (first / 4 + second * (3 / 4)))


def errors(counts: tuple[int, ...] = (40, 80, 160)) -> list[float]:
    """Root mean square distance to the exact solution for these numbers of steps, in float64."""
    schedule = Cosine()
    mixture = GaussianMixture(
        schedule, torch.tensor([[-1.0, 0.5], [0.8, -0.3]]).double(), torch.tensor([0.5, 0.3]), torch.tensor([0.4, 0.6])
    )
    noise = NoiseSource(range(64), (2,), torch.float64)
    grid = UniformLogSNR(sigma_min=0.01, sigma_max=20.0)
    exact = sample(mixture, noise, DPMSolverMultistep(schedule, 3), grid(schedule, 5000))
    return [
        float((sample(mixture, noise, Ralston(schedule), grid(schedule, count)) - exact).square().mean().sqrt())
        for count in counts
    ]


if __name__ == "__main__":
    found = errors()
    print(f"errors {', '.join(f'{error:.2e}' for error in found)}; order {math.log2(found[-2] / found[-1]):.2f}")
