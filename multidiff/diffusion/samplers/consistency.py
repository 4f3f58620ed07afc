"""Few-step sampling for models that are trained to jump to x0 from any level."""

from dataclasses import dataclass

from torch import Tensor

from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.samplers.base import Denoise, History, Sampler
from multidiff.diffusion.samplers.noise_level import NoiseLevel
from multidiff.diffusion.schedules import Schedule


@dataclass(frozen=True)
class Consistency(Sampler):
    """Ping-pong: jump to x0, then noise it to the next level, ``x_s = alpha_s x0 + sigma_s z``.

    One step is a single jump. The law is exact if the denoiser is the map of the ODE itself, so there is no order.
    Song et al. (2023), algorithm 1, https://arxiv.org/abs/2303.01469.
    """

    schedule: Schedule
    evaluations = 1
    order = 0
    stochastic = True

    def step(self, denoise: Denoise, x_t: Tensor, t: Tensor, s: Tensor, history: History, noise: NoiseSource) -> Tensor:
        there, x0 = NoiseLevel.at(self.schedule, s), self.jump(denoise, x_t, t)
        return x0 if there.sigma == 0 else there.alpha * x0 + there.sigma * noise.between(t, s)

    def jump(self, denoise: Denoise, x_t: Tensor, t: Tensor) -> Tensor:
        """Where the model takes ``x_t``."""
        return denoise(x_t, t)


@dataclass(frozen=True)
class LCM(Consistency):
    """Consistency sampling of latent consistency models, whose network sits in a skip connection.

    The jump is ``c_skip x_t + c_out x0`` with ``c_skip = d^2 / (u^2 + d^2)``, ``c_out = u / sqrt(u^2 + d^2)`` and
    ``u = time_scale t``: the identity at t = 0. Luo et al. (2023), section 4.1, https://arxiv.org/abs/2310.04378.

    Args:
        schedule: of the denoiser.
        sigma_data: the d of the formulas.
        time_scale: 10 for each of a thousand discrete times in the models that are published.
    """

    schedule: Schedule
    sigma_data: float = 0.5
    time_scale: float = 10_000.0

    def jump(self, denoise: Denoise, x_t: Tensor, t: Tensor) -> Tensor:
        scaled = self.time_scale * t
        power = scaled**2 + self.sigma_data**2
        return self.sigma_data**2 / power * x_t + scaled / power.sqrt() * denoise(x_t, t)
