"""Classifier-free guidance, with the null condition or a negative condition."""

from collections.abc import Sequence

from torch import Tensor

from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import Denoiser
from multidiff.diffusion.guidance.base import EVERYWHERE, ConditionGuidance, Scale


class ClassifierFreeGuidance(ConditionGuidance):
    """Classifier-free guidance: ``other + scale (cond - other)``. Scale 1 is off.

    Ho and Salimans (2022), eq. 6, https://arxiv.org/abs/2207.12598, whose ``w`` is ``scale - 1``. ``rescale`` then
    moves the result g towards the standard deviation of the conditional estimate c, taken over each sample:
    ``(1 - rescale) g + rescale g std(c) / std(g)``. Lin et al. (2023), eq. 15-16, https://arxiv.org/abs/2305.08891.

    Args:
        denoiser: trained with condition dropout.
        scale: finite and at least 0, or a function of log SNR; 0 ignores the condition.
        rescale: the paper's phi, from 0 (off) to 1.
        negative: negative condition, for one sample or for each; by default the null condition.
        interval: of log SNR, see `Guidance`.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scale: Scale,
        *,
        rescale: float = 0.0,
        negative: Conditioning | None = None,
        interval: tuple[float, float] = EVERYWHERE,
    ):
        super().__init__(denoiser, scale, interval=interval)
        if not 0 <= rescale <= 1:
            raise ValueError(f"rescale must be from 0 (off) to 1, got {rescale}")
        self.rescale = rescale
        self.negative = negative

    def others(self, cond: Conditioning) -> Sequence[Conditioning]:
        return [cond.null() if self.negative is None else self.negative]

    def combine(self, scale: Tensor, estimate: Tensor, *others: Tensor) -> Tensor:
        (other,) = others
        guided = other + scale * (estimate - other)
        if self.rescale == 0:
            return guided
        contrast = std_per_sample(estimate) / std_per_sample(guided).clamp(min=1e-12)
        return guided * (1 - self.rescale + self.rescale * contrast)


def std_per_sample(x: Tensor) -> Tensor:
    """Standard deviation of each sample, broadcastable to ``x``."""
    return x.std(dim=tuple(range(1, x.ndim)), keepdim=True, correction=0)
