"""A distribution with an exact denoiser: the reference for samplers, guidance and objectives."""

import torch
from torch import Tensor

from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import Denoiser, coefficients
from multidiff.diffusion.schedules import Schedule


class GaussianMixture(Denoiser):
    """The exact denoiser of a mixture of isotropic Gaussians.

    Under component k, x_t is normal with mean ``a m_k`` and variance ``v_k = a^2 c_k^2 + s^2``, and the mean of x0 is
    ``m_k + (a c_k^2 / v_k) (x_t - a m_k)``. The components are weighted by their posterior probabilities.

    Args:
        schedule: any schedule.
        means: mean of each component, ``(K, *sample shape)``.
        stds: standard deviation of each component, ``(K,)``.
        weights: probability of each component, ``(K,)``; equal by default.
    """

    def __init__(self, schedule: Schedule, means: Tensor, stds: Tensor, weights: Tensor | None = None):
        super().__init__()
        self.schedule = schedule
        self.means = means
        self.stds = stds
        self.weights = torch.full_like(stds, 1 / len(stds)) if weights is None else weights

    def forward(self, x_t: Tensor, t: Tensor, cond: Conditioning | None = None) -> Tensor:
        a, s = (c[:, None] if c.ndim else c for c in coefficients(self.schedule, t, x_t))
        stds = self.stds.reshape(-1, *[1] * (x_t.ndim - 1))
        variance = (a * stds) ** 2 + s**2
        offset = x_t[:, None] - a * self.means
        means = self.means + a * stds**2 / variance * offset
        size = x_t[0].numel()
        log_likelihood = -(offset**2 / variance).flatten(2).sum(2) / 2 - size / 2 * torch.log(variance).flatten(1)
        posterior = torch.softmax(torch.log(self.weights) + log_likelihood, dim=1)
        return (posterior.reshape(*posterior.shape, *[1] * (x_t.ndim - 1)) * means).sum(1)
