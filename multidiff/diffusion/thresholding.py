"""Keeping x0 estimates within the range of the data, which strong guidance leaves."""

import math

from torch import Tensor

from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import Denoiser


class StaticThresholding(Denoiser):
    """The estimate cut to ``[-limit, limit]``. Saharia et al. (2022), section 2.3, https://arxiv.org/abs/2205.11487.

    Args:
        denoiser: guided or not.
        limit: the largest absolute value in the data.
    """

    def __init__(self, denoiser: Denoiser, limit: float = 1.0):
        super().__init__()
        if not limit > 0:
            raise ValueError(f"the limit must be positive, got {limit}")
        self.denoiser = denoiser
        self.schedule = denoiser.schedule
        self.limit = limit

    def forward(self, x_t: Tensor, t: Tensor, cond: Conditioning | None = None) -> Tensor:
        return self.denoiser(x_t, t, cond).clamp(-self.limit, self.limit)


class DynamicThresholding(StaticThresholding):
    """The estimate cut where all but a ``fraction`` of its absolute values end, and shrunk to ``[-limit, limit]``.

    Estimates that stay within the limit are not touched, so that contrast is kept. Saharia et al. (2022), section 2.3,
    https://arxiv.org/abs/2205.11487.

    Args:
        denoiser: guided or not.
        limit: the largest absolute value in the data.
        fraction: the quantile of the absolute values of each sample that becomes ``limit``, in (0, 1].
    """

    def __init__(self, denoiser: Denoiser, limit: float = 1.0, fraction: float = 0.995):
        super().__init__(denoiser, limit)
        if not 0 < fraction <= 1:
            raise ValueError(f"the fraction must be above 0 and at most 1, got {fraction}")
        self.fraction = fraction

    def forward(self, x_t: Tensor, t: Tensor, cond: Conditioning | None = None) -> Tensor:
        x0 = self.denoiser(x_t, t, cond)
        values = x0.abs().flatten(1)
        rank = math.ceil(self.fraction * values.shape[1])
        largest = values.kthvalue(rank, dim=1).values  # torch.quantile refuses large samples
        bound = largest.clamp(min=self.limit).reshape(-1, *[1] * (x0.ndim - 1))
        return x0.clamp(-bound, bound) * (self.limit / bound)
