"""Guidance: a denoiser made from denoisers."""

import torch
from torch import Tensor

from multidiff.diffusion.conditioning import Conditioning, concatenate
from multidiff.diffusion.denoiser import Denoiser


class ClassifierFreeGuidance(Denoiser):
    """``uncond + scale (cond - uncond)``: 1 is off, above 1 follows the condition more closely than the data does.

    Both halves go through the network in one batch. Ho and Salimans (2022), https://arxiv.org/abs/2207.12598, whose
    ``w`` is ``scale - 1``.

    Args:
        denoiser: one that was trained with conditions dropped at random.
        scale: finite, at least 0; 0 ignores the condition.
    """

    def __init__(self, denoiser: Denoiser, scale: float):
        super().__init__()
        if not 0 <= scale < float("inf"):
            raise ValueError(f"guidance scale must be finite and at least 0 (1 is off), got {scale}")
        self.denoiser = denoiser
        self.schedule = denoiser.schedule
        self.scale = scale

    def forward(self, x_t: Tensor, t: Tensor, cond: Conditioning | None = None) -> Tensor:
        if cond is None or self.scale == 1:
            return self.denoiser(x_t, t, cond)
        both = concatenate(cond, cond.null())
        times = t if t.ndim == 0 else torch.cat([t, t])
        conditional, unconditional = self.denoiser(torch.cat([x_t, x_t]), times, both).chunk(2)
        return unconditional + self.scale * (conditional - unconditional)
