"""DPM-Solver and DPM-Solver++, for the ODE and the SDE, of any order.

Two things separate these from their usual transcriptions. The polynomial through the estimates is integrated exactly in
every order (others replace a moment by its small-step limit, or lose a factor of two). And ``eta`` is a setting, not
another sampler: 2 or 3 steps of memory with ``eta = 1`` are DPM++ 2M and 3M SDE, two stages with it DPM++ SDE.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.samplers.base import Denoise, History, Sampler
from multidiff.diffusion.samplers.exponential import Form, combine, exponential_weights, form_called
from multidiff.diffusion.samplers.levels import Level, euler_step
from multidiff.diffusion.samplers.multistep import Multistep
from multidiff.diffusion.schedules import Schedule


def solver_weights(form: Form, nodes: Sequence[Level], t: Level, s: Level) -> Tensor:
    """The weights of the estimates at ``nodes`` in the step from t to s."""
    places = torch.stack([node.log_snr for node in nodes])
    return form.gain(s) * exponential_weights(places, t.log_snr, s.log_snr, form.rate)


@dataclass(frozen=True)
class DPMSolverMultistep(Multistep):
    """``x_s = propagation x_t + gain sum_i w_i f_i + spread z``, through the last ``order`` estimates.

    Lu et al. (2022), algorithm 2, https://arxiv.org/abs/2211.01095; the first steps have fewer estimates.

    Args:
        schedule: of the denoiser.
        order: how many estimates are interpolated.
        form: ``data`` (DPM-Solver++) or ``noise`` (DPM-Solver).
        eta: noise of the reverse process: 0 none, 1 that of the reverse SDE.
    """

    schedule: Schedule
    order: int = 2
    form_name: str = "data"
    eta: float = 0.0
