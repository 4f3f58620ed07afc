"""A Gaussian denoiser whose mean is its condition, and which records its batch sizes."""

import torch

from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import Denoiser, coefficients
from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.schedules import Cosine, Schedule

STD = 0.5


class Gaussian(Denoiser):
    """The exact denoiser of ``N(cond.vector, STD^2)``, samples ``(B, D)``; without a condition the mean is 0."""

    def __init__(self, schedule: Schedule | None = None, std: float = STD):
        super().__init__()
        self.schedule = schedule or Cosine()
        self.std = std
        self.rows: list[int] = []

    def forward(self, x_t, t, cond=None):
        self.rows.append(len(x_t))
        a, s = coefficients(self.schedule, t, x_t)
        mean = torch.zeros_like(x_t) if cond is None else cond.vector
        return mean + a * self.std**2 / ((a * self.std) ** 2 + s**2) * (x_t - a * mean)


def means(*rows):
    """The condition with these means."""
    return Conditioning(torch.tensor(rows, dtype=torch.float64))


def noise(count, *size, seed=0):
    """Noise for ``count`` samples in float64."""
    return NoiseSource(range(seed, seed + count), size, torch.float64)
