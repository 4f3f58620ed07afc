"""Inversion: from a sample to the noise from which a deterministic sampler generates it."""

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
    """The noisy sample at ``grid[0]`` from which ``sample`` generates ``x0``, accurate to the order of the sampler.

    The ODE is solved forward in time. The first step is special, because the noise is undefined at ``sigma = 0``: it
    inverts the last sampling step by solving ``denoise(x_t, t) = x0`` for x_t with the fixed-point iteration
    ``x_t = alpha x0 + sigma noise(x_t)``. Song et al. (2021), section 4.3, https://arxiv.org/abs/2010.02502.

    Args:
        denoiser: the model, with or without guidance.
        x0: samples, ``(B, C, *size)``. sampler: must be deterministic. grid: as for sampling, decreasing; the last time
        is exactly 0. cond: conditions of the samples. rounds: fixed-point iterations at the lowest noise level
        ``r = sigma / alpha``, one evaluation each. Each reduces
            the error by a factor of about ``(r / d)^2``, where d is the scale of the finest details of the data.

    Raises:
        ValueError: the sampler is stochastic.
    """
    if sampler.stochastic:
        raise ValueError(f"{type(sampler).__name__} is stochastic and cannot be inverted; set eta or churn to 0")
    check_grid(grid)
    times = grid.to("cpu", torch.float64).flip(0)[1:]
    first = NoiseLevel.at(sampler.schedule, times[0])

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        return denoiser(x_t, t, cond)

    x = first.alpha * x0
    for _ in range(rounds):
        x = first.alpha * x0 + first.sigma * noise_estimate(x, denoise(x, first.t), first)
    unused_noise = NoiseSource([0] * len(x0), x0.shape[1:], x0.dtype, x0.device)
    return integrate(denoise, x, unused_noise, sampler, times)
