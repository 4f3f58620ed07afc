"""Guidance along some directions only."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import Denoiser
from multidiff.diffusion.guidance.base import EVERYWHERE, ConditionGuidance, Scale


def projected(x: Tensor, axis: Tensor) -> Tensor:
    """The part of each sample of ``x`` that is parallel to that of ``axis``."""
    return dot(x, axis) / dot(axis, axis).clamp(min=torch.finfo(x.dtype).tiny) * axis


def dot(x: Tensor, y: Tensor) -> Tensor:
    """The inner product of each sample of ``x`` with that of ``y``, broadcastable to both."""
    return (x * y).sum(dim=tuple(range(1, x.ndim)), keepdim=True)


class AdaptiveProjectedGuidance(ConditionGuidance):
    """APG: ``cond + (scale - 1) (d_perp + parallel d_par)``, where ``d = cond - other`` is no longer than ``limit``.

    The parallel part of d, along the conditional estimate, is what oversaturates. With ``parallel = 1`` and no limit
    it is classifier-free guidance. Sadat et al. (2024), algorithm 1, https://arxiv.org/abs/2410.02416, without its
    momentum: that remembers earlier steps, and a denoiser is a pure function.

    Args:
        denoiser: one that was trained with conditions dropped at random.
        scale: finite and at least 0, or a function of log SNR.
        parallel: the paper's eta, at least 0.
        limit: the paper's r, a Euclidean norm over a sample; infinite is off.
        negative: the other condition, of one sample or of each; by default the null condition.
        interval: of log SNR, see `Guidance`.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scale: Scale,
        *,
        parallel: float = 0.0,
        limit: float = math.inf,
        negative: Conditioning | None = None,
        interval: tuple[float, float] = EVERYWHERE,
    ):
        super().__init__(denoiser, scale, interval=interval)
        if not (parallel >= 0 and limit > 0):
            raise ValueError(f"need parallel of at least 0 and limit above 0, got {parallel} and {limit}")
        self.parallel = parallel
        self.limit = limit
        self.negative = negative

    def others(self, cond: Conditioning) -> Sequence[Conditioning]:
        return [cond.null() if self.negative is None else self.negative]

    def combine(self, scale: Tensor, estimate: Tensor, *others: Tensor) -> Tensor:
        (other,) = others
        difference = estimate - other
        norm = torch.sqrt(dot(difference, difference))
        difference = difference * (self.limit / norm).clamp(max=1)
        kept = difference + (self.parallel - 1) * projected(difference, estimate)
        return estimate + (scale - 1) * kept
