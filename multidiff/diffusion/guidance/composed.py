"""Guidance with several conditions."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import Denoiser
from multidiff.diffusion.guidance.base import EVERYWHERE, ConditionGuidance, Scale
from multidiff.diffusion.guidance.projected import project


class SeveralConditions(ConditionGuidance):
    """Guidance with the condition of the samples and additional weighted conditions, also at scale 1.

    Args:
        denoiser: trained with condition dropout.
        scale: for the condition of the samples: finite and at least 0, or a function of log SNR.
        conditions: the additional conditions, each for one sample or for the whole batch.
        weights: weight of each additional condition.
        interval: of log SNR, see `Guidance`; outside it, only the condition of the samples is used.
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
            raise ValueError(f"need one weight per condition, got {len(weights)} for {len(conditions)} conditions")
        self.conditions = tuple(conditions)
        self.weights = tuple(weights)

    def is_active(self, scale: Tensor) -> Tensor:
        return torch.ones_like(scale, dtype=torch.bool) if any(self.weights) else super().is_active(scale)

    def others(self, cond: Conditioning) -> Sequence[Conditioning]:
        return [cond.null(), *self.conditions]

    def combine(self, scale: Tensor, estimate: Tensor, *others: Tensor) -> Tensor:
        null = others[0]
        return null + self.direction(scale, estimate - null, [other - null for other in others[1:]])

    @abstractmethod
    def direction(self, scale: Tensor, own: Tensor, others: Sequence[Tensor]) -> Tensor:
        """Difference of the guided and the unconditional estimate, given those of the conditional estimates."""


class ComposedGuidance(SeveralConditions):
    """``uncond + scale (cond - uncond) + sum_i w_i (cond_i - uncond)``: a product of conditions.

    A negative weight steers away from its condition ("not").

    Liu et al. (2022), https://arxiv.org/abs/2206.01714.
    """

    def direction(self, scale: Tensor, own: Tensor, others: Sequence[Tensor]) -> Tensor:
        return scale * own + sum(weight * other for weight, other in zip(self.weights, others, strict=True))


class PerpendicularNegativeGuidance(SeveralConditions):
    """Perp-Neg: ``uncond + scale (own - sum_i w_i perp_i)``, away from the negative conditions.

    ``own = cond - uncond``, and ``perp_i`` is the component of ``cond_i - uncond`` perpendicular to it. Armandpour et
    al. (2023), https://arxiv.org/abs/2304.04968; weights above 0 steer away.
    """

    def direction(self, scale: Tensor, own: Tensor, others: Sequence[Tensor]) -> Tensor:
        away = sum(w * (other - project(other, own)) for w, other in zip(self.weights, others, strict=True))
        return scale * (own - away)
