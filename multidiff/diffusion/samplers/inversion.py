"""From a sample back to the noise that a deterministic sampler made it from."""

import torch
from torch import Tensor

from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import Denoiser
from multidiff.diffusion.grids import check_grid
from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.samplers.base import Sampler, integrate
from multidiff.diffusion.samplers.noise_level import NoiseLevel, noise_estimate


@torch.no_grad()
def invert(
    denoiser: Denoiser,
    x0: Tensor,
    sampler: Sampler,
    grid: Tensor,
    cond: Conditioning | None = None,
    rounds: int = 3,
) -> Tensor:
    """The noisy ``x_T`` at ``grid[0]`` from which ``sample`` would come to ``x0``, to the order of the sampler.

    The ODE is solved up in time. Its first step needs care, because at ``sigma = 0`` no noise can be told from x0: it
    undoes what the last step down does, by solving ``denoise(x_t, t) = x0`` for x_t in rounds of
    ``x_t = alpha x0 + sigma noise(x_t)``. Song et al. (2021), section 4.3, https://arxiv.org/abs/2010.02502.

    Args:
        denoiser: the model, guided or not.
        x0: samples, ``(B, C, *size)``.
        sampler: a deterministic one.
        grid: the times that the sampler would visit on its way down; the last is exactly 0.
        cond: conditions of the samples.
        rounds: evaluations at the lowest level r of ``sigma / alpha``. Each leaves about ``(r / d)^2`` of what is
            missing, for details of the data down to a size d.

    Raises:
        ValueError: the sampler draws noise.
    """
    if sampler.stochastic:
        raise ValueError(f"{type(sampler).__name__} draws noise, so it cannot be inverted; set its noise to 0")
    check_grid(grid)
    times = grid.to("cpu", torch.float64).flip(0)[1:]
    first = NoiseLevel.at(sampler.schedule, times[0])

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        return denoiser(x_t, t, cond)

    x = first.alpha * x0
    for _ in range(rounds):
        x = first.alpha * x0 + first.sigma * noise_estimate(x, denoise(x, first.t), first)
    silence = NoiseSource([0] * len(x0), x0.shape[1:], x0.dtype, x0.device)
    return integrate(denoise, x, silence, sampler, times)
