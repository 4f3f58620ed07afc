"""Few-step sampling for consistency models, which map any noise level to x0 in one evaluation."""

from dataclasses import dataclass

from torch import Tensor

from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.samplers.base import Denoise, History, Sampler
from multidiff.diffusion.samplers.noise_level import NoiseLevel
from multidiff.diffusion.schedules import Schedule


@dataclass(frozen=True)
class Consistency(Sampler):
    """Multistep consistency sampling: jump to x0, then add noise to the next level, ``x_s = alpha_s x0 + sigma_s z``.

    With one step it is a single jump. The samples are exact if the denoiser is the solution map of the ODE, so there is
    no order of convergence. Song et al. (2023), algorithm 1, https://arxiv.org/abs/2303.01469.
    """

    schedule: Schedule
    evaluations = 1
    order = 0
    stochastic = True

    def step(self, denoise: Denoise, x_t: Tensor, t: Tensor, s: Tensor, history: History, noise: NoiseSource) -> Tensor:
        there, x0 = NoiseLevel.at(self.schedule, s), self.jump(denoise, x_t, t)
        return x0 if there.sigma == 0 else there.alpha * x0 + there.sigma * noise.between(t, s)

    def jump(self, denoise: Denoise, x_t: Tensor, t: Tensor) -> Tensor:
        """The x0 to which the model maps ``x_t``."""
        return denoise(x_t, t)


@dataclass(frozen=True)
class LCM(Consistency):
    """Consistency sampling of latent consistency models (LCM), which add a skip connection to the network.

    The jump is ``c_skip x_t + c_out x0`` with ``c_skip = d^2 / (u^2 + d^2)``, ``c_out = u / sqrt(u^2 + d^2)`` and
    ``u = time_scale t``: the identity at t = 0. Luo et al. (2023), section 4.1, https://arxiv.org/abs/2310.04378.

    Args:
        schedule: schedule of the denoiser.
        sigma_data: d of the formulas.
        time_scale: published models use 10 per discrete timestep, with a thousand timesteps.
    """

    schedule: Schedule
    sigma_data: float = 0.5
    time_scale: float = 10_000.0

    def jump(self, denoise: Denoise, x_t: Tensor, t: Tensor) -> Tensor:
        c_skip, c_out = skip_connection(t, self.sigma_data, self.time_scale)
        return c_skip * x_t + c_out * denoise(x_t, t)


def skip_connection(t: Tensor, sigma_data: float, time_scale: float) -> tuple[Tensor, Tensor]:
    """``c_skip`` and ``c_out`` of `LCM` at times ``t``."""
    scaled = time_scale * t
    power = scaled**2 + sigma_data**2
    return sigma_data**2 / power, scaled / power.sqrt()
