"""The exact log-likelihood of samples under a model, by the probability-flow ODE."""

import math

import torch
from torch import Tensor

from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import Denoiser, coefficients
from multidiff.diffusion.grids import check_grid
from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.samplers.base import Sampler, integrate


@torch.no_grad()
def log_likelihood(
    denoiser: Denoiser,
    x0: Tensor,
    sampler: Sampler,
    grid: Tensor,
    cond: Conditioning | None = None,
    probes: NoiseSource | None = None,
) -> Tensor:
    """Log density (natural logarithm) at ``x0``, ``(B,)``.

    Along the ODE, the log density of ``y = x / sigma`` changes by ``-alpha tr(d x0 / d x_t)`` per unit of log SNR. Let
    w be that change. Then ``sigma w`` obeys the sampler's own equation with ``-sigma tr(d x0 / d x_t)`` in place of x0,
    so it is integrated as one more element of the sample, and any sampler computes it to its own order. At ``grid[0]``,
    y is assumed to be standard normal. Below the lowest noise level ``r = sigma / alpha`` of the grid, the noise is
    assumed to grow in proportion to r, which leaves an error of order ``r^4``. Song et al. (2021), appendix D.2,
    https://arxiv.org/abs/2011.13456.

    Args:
        denoiser: the model, without guidance: a guided denoiser is not the posterior mean of any density.
        x0: samples, ``(B, C, *size)``.
        sampler: must be deterministic.
        grid: as for sampling; the last time is exactly 0.
        cond: conditions of the samples.
        probes: noise source of the random signs of Hutchinson's unbiased trace estimate, which costs one gradient per
            evaluation. By default the trace is exact, at one gradient per element of the sample.

    Raises:
        ValueError: the sampler is stochastic.
    """
    if sampler.stochastic:
        raise ValueError(f"{type(sampler).__name__} is stochastic and has no likelihood; set eta or churn to 0")
    check_grid(grid)
    times = grid.to("cpu", torch.float64).flip(0)[1:]
    count = x0[0].numel()
    signs = None if probes is None else torch.where(probes.start() < 0, -1.0, 1.0).to(x0)

    def with_trace(x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x_t = x_t.detach().requires_grad_()
            estimate = denoiser(x_t, t, cond)
            return estimate.detach(), trace(estimate, x_t, signs)

    def augmented(state: Tensor, t: Tensor) -> Tensor:
        estimate, divergence = with_trace(state[:, :count].reshape(x0.shape), t)
        sigma = coefficients(sampler.schedule, t, state)[1]
        return torch.cat([estimate.flatten(1), -sigma * divergence[:, None]], dim=1)

    alpha, sigma = sampler.schedule.alpha(times[0]), sampler.schedule.sigma(times[0])
    estimate, divergence = with_trace(alpha * x0, times[0])
    x = alpha * x0 + (alpha * x0 - alpha * estimate) / 2  # half of the noise estimated at the lowest noise level
    first = (count - alpha * divergence) / 2 + count * (torch.log(alpha) - torch.log(sigma))
    state = torch.cat([x.flatten(1), torch.zeros_like(divergence)[:, None]], dim=1)
    unused_noise = NoiseSource([0] * len(x0), state.shape[1:], x0.dtype, x0.device)
    state = integrate(augmented, state, unused_noise, sampler, times) / sampler.schedule.sigma(times[-1])
    normal = -(state[:, :count] ** 2).sum(1) / 2 - count / 2 * math.log(2 * math.pi)
    return normal - state[:, count] + first


def trace(output: Tensor, x: Tensor, signs: Tensor | None) -> Tensor:
    """The trace of ``d output / d x`` for each sample, ``(B,)``: exact, or estimated with ``signs`` v as ``v^T J v``.

    Hutchinson (1990), https://doi.org/10.1080/03610919008812866.
    """
    if signs is not None:
        (gradient,) = torch.autograd.grad(output, x, signs)
        return (gradient * signs).flatten(1).sum(1)
    numbers = output.flatten(1)
    total = torch.zeros_like(numbers[:, 0])
    for k in range(numbers.shape[1]):
        (gradient,) = torch.autograd.grad(numbers[:, k].sum(), x, retain_graph=True)
        total = total + gradient.flatten(1)[:, k]
    return total.detach()
