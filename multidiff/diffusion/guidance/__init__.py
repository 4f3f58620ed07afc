"""Guidance: denoisers that modify the estimate of another denoiser, one method per file. They can be nested.

All formulas are in terms of the x0 estimate. Most papers write them in terms of the noise; where the weights of the
estimates sum to 1, both forms are the same.
"""

from multidiff.diffusion.guidance.autoguidance import Autoguidance
from multidiff.diffusion.guidance.base import ConditionGuidance, Guidance, Scale
from multidiff.diffusion.guidance.classifier_free import ClassifierFreeGuidance
from multidiff.diffusion.guidance.composed import ComposedGuidance, PerpendicularNegativeGuidance
from multidiff.diffusion.guidance.distilled import DistilledGuidance, guided
from multidiff.diffusion.guidance.projected import AdaptiveProjectedGuidance
from multidiff.diffusion.guidance.scales import CFGPlusPlus, ScaleCurve

__all__ = [
    "AdaptiveProjectedGuidance",
    "Autoguidance",
    "CFGPlusPlus",
    "ClassifierFreeGuidance",
    "ComposedGuidance",
    "ConditionGuidance",
    "DistilledGuidance",
    "Guidance",
    "PerpendicularNegativeGuidance",
    "Scale",
    "ScaleCurve",
    "guided",
]
