"""Exponential multistep solvers: the linear part of the ODE exactly, x0 as a polynomial in log SNR."""

from dataclasses import dataclass

import torch
from torch import Tensor

from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.samplers.base import Denoise, History, Sampler
from multidiff.diffusion.schedules import Schedule


def exponential_weights(nodes: Tensor, stop: Tensor) -> Tensor:
    """Weights that integrate ``exp(u - stop)`` times the interpolant through ``nodes`` over ``[nodes[0], stop]``.

    Exact for polynomials of degree below ``len(nodes)``, which is what gives a multistep method its order. A single
    node may lie at minus infinity.

    Args:
        nodes: log SNR of the known x0 estimates, newest first, ``(k,)`` in float64.
        stop: log SNR at the end of the step, a scalar.
    """
    u = nodes - stop
    start, decay = u[0], torch.exp(u[0])
    moments = [1 - decay]
    for k in range(1, len(u)):
        moments.append(-(start**k) * decay - k * moments[-1])
    powers = u[None, :] ** torch.arange(len(u), dtype=u.dtype)[:, None]
    return torch.linalg.solve(powers, torch.stack(moments))


@dataclass(frozen=True)
class DPMSolverMultistep(Sampler):
    """DPM-Solver++ in multistep form, of any order.

    ``x_s = sigma_s / sigma_t x_t + alpha_s sum_i w_i x0_i``, integrating the polynomial in log SNR through the last
    ``order`` estimates; the first steps have fewer. Lu et al. (2022), https://arxiv.org/abs/2211.01095.
    """

    schedule: Schedule
    order: int = 2
    evaluations = 1

    def __post_init__(self) -> None:
        if self.order < 1:
            raise ValueError(f"the order must be at least 1, got {self.order}")

    def step(self, denoise: Denoise, x_t: Tensor, t: Tensor, s: Tensor, history: History, noise: NoiseSource) -> Tensor:
        if history and history[0][0].isinf():
            history.clear()  # nothing is interpolated from zero terminal SNR, which lies at minus infinity
        history.appendleft((self.schedule.log_snr(t), denoise(x_t, t)))
        while len(history) > self.order:
            history.pop()
        if self.schedule.sigma(s) == 0:
            return self.schedule.alpha(s) * history[0][1]
        nodes, estimates = zip(*history, strict=True)
        weights = exponential_weights(torch.stack(nodes), self.schedule.log_snr(s))
        integral = sum(w * x0 for w, x0 in zip(weights, estimates, strict=True))
        return self.schedule.sigma(s) / self.schedule.sigma(t) * x_t + self.schedule.alpha(s) * integral
