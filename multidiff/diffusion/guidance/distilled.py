"""Guidance that the network applies by itself."""

from torch import Tensor

from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import Denoiser, Wrapper
from multidiff.diffusion.guidance.classifier_free import ClassifierFreeGuidance


class DistilledGuidance(Wrapper):
    """A denoiser whose network takes the guidance scale as an input: one evaluation in place of two.

    Meng et al. (2023), section 3.1, https://arxiv.org/abs/2210.03142.

    Args:
        denoiser: its network has the input ``guidance``.
        scale: of each sample, ``(B,)``, or one for all.
    """

    def __init__(self, denoiser: Denoiser, scale: Tensor | float):
        super().__init__(denoiser)
        self.scale = scale

    def forward(self, x_t: Tensor, t: Tensor, cond: Conditioning | None = None, s: Tensor | None = None) -> Tensor:
        scale = self.scale if isinstance(self.scale, Tensor) else x_t.new_tensor(self.scale)
        return self.denoiser(x_t, t, cond, s=s, scale=scale)


def guided(denoiser: Denoiser, scale: Tensor | None) -> Denoiser:
    """``denoiser`` guided by ``scale``, ``(B,)``; None is no guidance.

    The network applies the guidance by itself if it takes the scale, otherwise it is classifier-free guidance.
    """
    if scale is None:
        return denoiser
    if "guidance" in denoiser.inputs:
        return DistilledGuidance(denoiser, scale)
    return ClassifierFreeGuidance(denoiser, scale.to)
