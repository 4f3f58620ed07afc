"""One-step solvers of the probability-flow ODE ``d(x / alpha) / d(sigma / alpha) = noise``."""

from dataclasses import dataclass

from torch import Tensor

from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.samplers.base import Denoise, History, Sampler, noise_estimate
from multidiff.diffusion.schedules import Schedule


@dataclass(frozen=True)
class Euler(Sampler):
    """``x_s = (sigma_s / sigma_t) x_t + (alpha_s - alpha_t sigma_s / sigma_t) x0``.

    Euler's method with the noise held still; exact where x0 is constant. Karras et al. (2022), algorithm 1 without its
    correction, https://arxiv.org/abs/2206.00364.
    """

    schedule: Schedule
    evaluations = 1
    order = 1

    def step(self, denoise: Denoise, x_t: Tensor, t: Tensor, s: Tensor, history: History, noise: NoiseSource) -> Tensor:
        shrink = self.schedule.sigma(s) / self.schedule.sigma(t)
        return shrink * x_t + (self.schedule.alpha(s) - self.schedule.alpha(t) * shrink) * denoise(x_t, t)


@dataclass(frozen=True)
class Heun(Sampler):
    """Euler's step, then the mean of the slopes at its two ends.

    ``x_s = euler + alpha_s (sigma_s / alpha_s - sigma_t / alpha_t) (noise_s - noise_t) / 2``. At no signal and at no
    noise one of the slopes does not exist, and the step is Euler's; one such step at each end leaves the order at 2.
    Karras et al. (2022), algorithm 1, https://arxiv.org/abs/2206.00364.
    """

    schedule: Schedule
    evaluations = 2
    order = 2

    def step(self, denoise: Denoise, x_t: Tensor, t: Tensor, s: Tensor, history: History, noise: NoiseSource) -> Tensor:
        (a_t, s_t), (a_s, s_s) = ((self.schedule.alpha(u), self.schedule.sigma(u)) for u in (t, s))
        x0 = denoise(x_t, t)
        before = noise_estimate(x_t, x0, a_t, s_t)
        euler = a_s * x0 + s_s * before
        if s_s == 0 or a_t == 0:
            return euler
        after = noise_estimate(euler, denoise(euler, s), a_s, s_s)
        return euler + (s_s - a_s * s_t / a_t) / 2 * (after - before)
