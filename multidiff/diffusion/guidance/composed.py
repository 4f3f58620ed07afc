"""Guidance by several conditions at once."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import Denoiser
from multidiff.diffusion.guidance.base import EVERYWHERE, ConditionGuidance, Scale
from multidiff.diffusion.guidance.projected import projected


class SeveralConditions(ConditionGuidance):
    """The samples' own condition at ``scale``, and further ones with weights; it acts at scale 1 too.

    Args:
        denoiser: one that was trained with conditions dropped at random.
        scale: of the samples' own condition: finite and at least 0, or a function of log SNR.
        conditions: the further ones, each of one sample or of as many as there are.
        weights: one for each of them.
        interval: of log SNR, see `Guidance`; outside it only the samples' own condition counts.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scale: Scale,
        conditions: Sequence[Conditioning],
        weights: Sequence[float],
        *,
        interval: tuple[float, float] = EVERYWHERE,
    ):
        super().__init__(denoiser, scale, interval=interval)
        if len(conditions) != len(weights):
            raise ValueError(f"every condition has a weight, got {len(conditions)} conditions and {len(weights)}")
        self.conditions = tuple(conditions)
        self.weights = tuple(weights)

    def acts(self, scale: Tensor) -> Tensor:
        return torch.ones_like(scale, dtype=torch.bool) if any(self.weights) else super().acts(scale)

    def others(self, cond: Conditioning) -> Sequence[Conditioning]:
        return [cond.null(), *self.conditions]

    def combine(self, scale: Tensor, estimate: Tensor, *others: Tensor) -> Tensor:
        null = others[0]
        return null + self.direction(scale, estimate - null, [other - null for other in others[1:]])

    @abstractmethod
    def direction(self, scale: Tensor, own: Tensor, others: Sequence[Tensor]) -> Tensor:
        """The way from the unconditional estimate to the guided one, from that to each conditional estimate."""


class ComposedGuidance(SeveralConditions):
    """``uncond + scale (cond - uncond) + sum_i w_i (cond_i - uncond)``: a product of conditions; below 0 is "not".

    Liu et al. (2022), https://arxiv.org/abs/2206.01714.
    """

    def direction(self, scale: Tensor, own: Tensor, others: Sequence[Tensor]) -> Tensor:
        return scale * own + sum(weight * other for weight, other in zip(self.weights, others, strict=True))


class PerpendicularNegativeGuidance(SeveralConditions):
    """Perp-Neg: ``uncond + scale (own - sum_i w_i perp_i)``, away from conditions as far as they do not oppose its own.

    ``own = cond - uncond``, and ``perp_i`` is the part of ``cond_i - uncond`` that is perpendicular to it. Armandpour
    et al. (2023), https://arxiv.org/abs/2304.04968, with the weights of the negative conditions above 0.
    """

    def direction(self, scale: Tensor, own: Tensor, others: Sequence[Tensor]) -> Tensor:
        away = sum(w * (other - projected(other, own)) for w, other in zip(self.weights, others, strict=True))
        return scale * (own - away)
