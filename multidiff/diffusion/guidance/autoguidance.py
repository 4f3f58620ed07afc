"""Guidance with a weaker version of the model."""

from collections.abc import Sequence

import torch
from torch import Tensor

from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import Denoiser
from multidiff.diffusion.guidance.base import EVERYWHERE, Guidance, Scale


class Autoguidance(Guidance):
    """Autoguidance: ``weak + scale (strong - weak)``, away from the larger errors of a smaller or less trained network.

    It needs no condition and can be combined with guidance by conditions. Karras et al. (2024),
    https://arxiv.org/abs/2406.02507.

    Args:
        denoiser: the strong model.
        weak: the weak model, with the same schedule.
        scale: finite and at least 0, or a function of log SNR; 1 is off.
        interval: of log SNR, see `Guidance`.
    """

    def __init__(self, denoiser: Denoiser, weak: Denoiser, scale: Scale, *, interval: tuple[float, float] = EVERYWHERE):
        super().__init__(denoiser, scale, interval=interval)
        t = torch.linspace(0.1, 1, 10, dtype=torch.float64)
        if not torch.allclose(weak.schedule.log_snr(t), denoiser.schedule.log_snr(t)):
            raise ValueError("the schedules of the weak and the strong model differ")
        self.weak = weak

    def estimates(self, x_t: Tensor, times: Tensor, cond: Conditioning | None, rows: Tensor) -> Sequence[Tensor]:
        there = rows.to(x_t.device)
        weak = self.weak(x_t[there], times[rows], None if cond is None else cond.select(there))
        return self.denoiser(x_t, times, cond), weak

    def combine(self, scale: Tensor, estimate: Tensor, *others: Tensor) -> Tensor:
        (weak,) = others
        return weak + scale * (estimate - weak)
