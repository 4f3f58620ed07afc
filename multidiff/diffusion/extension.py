"""Samples that go on where a given one ends, to any length."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import Denoiser
from multidiff.diffusion.editing import Inpaint, OnStep
from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.samplers.base import Sampler


@dataclass(frozen=True)
class Extend:
    """Make ``x0`` longer along its last axis, a window at a time, each beginning with the end of what there is so far.

    A window is inpainted, its beginning being known, so that what is new agrees with it as it would within one sample.
    The window is as large as the noise that it is drawn from.

    Where the ends of a sample are unlike its inside, as the first and last frames of a spectrogram are, whose windows
    reach beyond it, ``edge`` positions at either end of a window are made and dropped, so that the whole has an inside
    throughout.

    Args:
        x0: the beginning, ``(C, *size, L)``, or one for each sample of the batch.
        length: of the result, above L.
        overlap: how many positions of a window are known, fewer than it has; all of ``x0``, where that has less.
        repeats: as for `Inpaint`.
        edge: how many positions at either end of a window are unlike those within; those of ``x0`` at its end are not
            in it.
        period: windows begin at multiples of this many positions, so that what depends on the position within a sample
            modulo ``period`` goes on as it did; up to ``period - 1`` positions more are known then.
    """

    x0: Tensor
    length: int
    overlap: int
    repeats: int = 5
    edge: int = 0
    period: int = 1

    def __post_init__(self) -> None:
        if self.length <= self.x0.shape[-1]:
            raise ValueError(f"a continuation is longer than its beginning, got {self.length} of {self.x0.shape[-1]}")
        if self.overlap < 1 or not self.x0.shape[-1]:
            raise ValueError(f"a continuation goes on from something, got an overlap of {self.overlap}")

    @torch.no_grad()
    def __call__(
        self,
        denoiser: Denoiser,
        noise: NoiseSource,
        sampler: Sampler,
        grid: Tensor,
        cond: Conditioning | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        window = noise.size[-1]
        most = self.overlap + self.period - 1
        if most + 2 * self.edge >= window:
            got = f"up to {most} and edges of {self.edge} of {window}"
            raise ValueError(f"the known part of a window is shorter than it, got {got}")
        whole = self.x0.reshape(-1, *self.x0.shape[-len(noise.size) :])
        place = torch.arange(window, device=whole.device)
        while missing := self.length - whole.shape[-1]:
            begin = whole.shape[-1] - self.overlap - self.edge
            begin = max(0, begin - begin % self.period)
            start = self.edge if begin else 0  # what begins the whole may begin a window
            known = whole[..., begin + start :]
            stop = start + known.shape[-1]
            given = F.pad(known, (start, window - stop))
            draw = Inpaint(given, (place < start) | (place >= stop), self.repeats)
            made = draw(denoiser, noise.branch(missing), sampler, grid, cond, on_step)
            new = made[..., stop : window - self.edge][..., :missing]
            whole = torch.cat([whole.expand(len(made), *whole.shape[1:]), new], dim=-1)
        return whole
