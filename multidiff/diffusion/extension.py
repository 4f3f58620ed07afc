"""Extension of samples beyond their end, to any length (outpainting along the last axis)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import Denoiser
from multidiff.diffusion.editing import Inpaint, OnStep
from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.samplers.base import Sampler, check_count


@dataclass(frozen=True)
class Extend:
    """Extend ``x0`` along its last axis, one window at a time; each window overlaps the end of the previous ones.

    Each window is inpainted from its known beginning, so that the new part is consistent with the overlap. The size of
    a window is that of the noise source.

    Some representations differ at their boundaries: the first and last frames of a spectrogram come from padded
    windows. There, ``edge`` positions at both ends of every window are generated and discarded.

    Args:
        x0: the sample to extend, ``(C, *size, L)``, or one for each sample of the batch.
        length: length of the result, above L.
        overlap: number of known positions in a window, below its size; all of ``x0`` where ``x0`` is shorter.
        repeats: see `Inpaint`.
        edge: number of boundary positions at each end of a window. ``x0`` must come without those of its own end.
        period: windows start at multiples of this number of positions, which keeps features that depend on the position
            modulo ``period`` aligned. The overlap may grow by up to ``period - 1`` positions.
    """

    x0: Tensor
    length: int
    overlap: int
    repeats: int = 5
    edge: int = 0
    period: int = 1

    def __post_init__(self) -> None:
        check_count("repeats", self.repeats)
        if self.length <= self.x0.shape[-1]:
            raise ValueError(f"length must be above that of x0, {self.x0.shape[-1]}, got {self.length}")
        if self.overlap < 1 or not self.x0.shape[-1]:
            raise ValueError(f"the overlap must be at least 1 position, and x0 must not be empty, got {self.overlap}")

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
            used = f"an overlap of up to {most} and 2 edges of {self.edge}"
            raise ValueError(f"a window of {window} positions leaves none to generate, got {used}")
        whole = self.x0.reshape(-1, *self.x0.shape[-len(noise.size) :])
        place = torch.arange(window, device=whole.device)
        while missing := self.length - whole.shape[-1]:
            begin = whole.shape[-1] - self.overlap - self.edge
            begin = max(0, begin - begin % self.period)
            start = self.edge if begin else 0  # the boundary of x0 itself is kept
            known = whole[..., begin + start :]
            stop = start + known.shape[-1]
            given = F.pad(known, (start, window - stop))
            inpaint = Inpaint(given, (place < start) | (place >= stop), self.repeats)
            made = inpaint(denoiser, noise.branch(missing), sampler, grid, cond, on_step)
            new = made[..., stop : window - self.edge][..., :missing]
            whole = torch.cat([whole.expand(len(made), *whole.shape[1:]), new], dim=-1)
        return whole
