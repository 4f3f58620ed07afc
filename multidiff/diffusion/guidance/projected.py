"""Adaptive projected guidance."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import Denoiser
from multidiff.diffusion.guidance.base import EVERYWHERE, ConditionGuidance, Scale


def project(x: Tensor, axis: Tensor) -> Tensor:
    """Projection of each sample of ``x`` onto the corresponding sample of ``axis``."""
    return dot(x, axis) / dot(axis, axis).clamp(min=torch.finfo(x.dtype).tiny) * axis


def dot(x: Tensor, y: Tensor) -> Tensor:
    """Inner product of corresponding samples of ``x`` and ``y``, broadcastable to both."""
    return (x * y).sum(dim=tuple(range(1, x.ndim)), keepdim=True)


class AdaptiveProjectedGuidance(ConditionGuidance):
    """APG: ``cond + (scale - 1) (d_perp + parallel d_par)``, where ``limit`` bounds ``d = cond - other``.

    The component ``d_par`` of d parallel to the conditional estimate causes oversaturation; ``d_perp`` is the rest.
    With ``parallel = 1`` and no limit this is classifier-free guidance. Sadat et al. (2024), algorithm 1,
    https://arxiv.org/abs/2410.02416, without momentum, which depends on earlier steps: a denoiser is a pure function.

    Args:
        denoiser: trained with condition dropout.
        scale: finite and at least 0, or a function of log SNR.
        parallel: the paper's eta, at least 0.
        limit: the paper's r, a bound on the Euclidean norm of d over a sample; infinity turns it off.
        negative: negative condition, for one sample or for each; by default the null condition.
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
            raise ValueError(f"need parallel >= 0 and limit > 0, got {parallel} and {limit}")
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
        kept = difference + (self.parallel - 1) * project(difference, estimate)
        return estimate + (scale - 1) * kept
