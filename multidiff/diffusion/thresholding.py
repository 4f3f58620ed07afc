"""Thresholding: keep x0 estimates in the range of the data under strong guidance."""

import math

from torch import Tensor

from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import Denoiser, Wrapper


class StaticThresholding(Wrapper):
    """Clips the estimate to ``[-limit, limit]``. Saharia et al. (2022), section 2.3, https://arxiv.org/abs/2205.11487.

    Args:
        denoiser: with or without guidance.
        limit: largest absolute value of the data.
    """

    def __init__(self, denoiser: Denoiser, limit: float = 1.0):
        super().__init__(denoiser)
        if not limit > 0:
            raise ValueError(f"limit must be positive, got {limit}")
        self.limit = limit

    def forward(self, x_t: Tensor, t: Tensor, cond: Conditioning | None = None) -> Tensor:
        return self.denoiser(x_t, t, cond).clamp(-self.limit, self.limit)


class DynamicThresholding(StaticThresholding):
    """Clips the estimate at a quantile of its absolute values, then rescales it to ``[-limit, limit]``.

    Estimates within the limit are unchanged, which preserves contrast. Saharia et al. (2022), section 2.3,
    https://arxiv.org/abs/2205.11487.

    Args:
        denoiser: with or without guidance.
        limit: largest absolute value of the data.
        fraction: quantile of the absolute values of each sample that is mapped to ``limit``, in (0, 1].
    """

    def __init__(self, denoiser: Denoiser, limit: float = 1.0, fraction: float = 0.995):
        super().__init__(denoiser, limit)
        if not 0 < fraction <= 1:
            raise ValueError(f"fraction must be above 0 and at most 1, got {fraction}")
        self.fraction = fraction

    def forward(self, x_t: Tensor, t: Tensor, cond: Conditioning | None = None) -> Tensor:
        x0 = self.denoiser(x_t, t, cond)
        values = x0.abs().flatten(1)
        rank = math.ceil(self.fraction * values.shape[1])
        largest = values.kthvalue(rank, dim=1).values  # torch.quantile rejects large samples
        bound = largest.clamp(min=self.limit).reshape(-1, *[1] * (x0.ndim - 1))
        return x0.clamp(-bound, bound) * (self.limit / bound)
