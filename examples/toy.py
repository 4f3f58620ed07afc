"""Train and sample points in the plane with a custom network: python examples/toy.py writes toy.png."""

import math

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

from multidiff.diffusion.denoiser import NetworkDenoiser
from multidiff.diffusion.grids import KarrasRho
from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.objectives import Context, Denoising, EDMWeighting, LogNormalSigma
from multidiff.diffusion.predictions import EDM
from multidiff.diffusion.samplers import DPMSolverMultistep, sample
from multidiff.diffusion.schedules import Cosine


def moons(count: int, generator: torch.Generator) -> Tensor:
    """Points on two interleaved half circles, ``(count, 2)``, with a standard deviation of about 0.7."""
    angle, side = torch.rand(count, generator=generator) * math.pi, torch.arange(count) % 2
    x, y = torch.cos(angle) * (1 - 2 * side) + side - 0.5, torch.sin(angle) * (1 - 2 * side) + side * 0.5 - 0.25
    return torch.stack([x, y], dim=1) + 0.05 * torch.randn(count, 2, generator=generator)


class Network(nn.Module):
    """Any module of this signature is a backbone: ``(x, log_snr, cond) -> tensor like x``."""

    def __init__(self, width: int = 128):
        super().__init__()
        sizes = [(10, width), (width, width), (width, width)]
        self.layers = nn.Sequential(
            *(nn.Sequential(nn.Linear(*size), nn.SiLU()) for size in sizes), nn.Linear(width, 2)
        )

    def forward(self, x: Tensor, log_snr: Tensor, cond: None = None) -> Tensor:
        angles = log_snr.clamp(-6, 6)[:, None] / 2 ** torch.arange(4)
        return self.layers(torch.cat([x, angles.cos(), angles.sin()], dim=1))


def main(steps: int = 2000) -> Tensor:
    """Train for ``steps``, and return 2000 samples."""
    torch.manual_seed(0)
    generator, denoiser = torch.Generator().manual_seed(0), NetworkDenoiser(Network(), Cosine(), EDM(0.7))
    objective = Denoising(LogNormalSigma(-1.2, 1.2), EDMWeighting(0.7))
    optimizer = torch.optim.AdamW(denoiser.parameters())
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    for _ in range(steps):
        optimizer.zero_grad()
        objective(Context(denoiser, moons(256, generator), None, generator)).mean().backward()
        optimizer.step()
        rate.step()
    sampler, grid = DPMSolverMultistep(denoiser.schedule), KarrasRho()(denoiser.schedule, 20)
    return sample(denoiser, NoiseSource(range(2000), (2,)), sampler, grid)


if __name__ == "__main__":
    for i, xy in enumerate([moons(2000, torch.Generator().manual_seed(1)), main()]):
        plt.subplot(1, 2, i + 1, title=("data", "samples")[i], aspect="equal").scatter(*xy.T, s=2)
    plt.savefig("toy.png")
