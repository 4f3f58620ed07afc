"""Guidance: denoisers made from denoisers, one idea a file; they nest.

All formulas are in terms of the x0 estimate. Those that only mix estimates with weights that add up to 1 read the same
in terms of the noise, in which most papers write them.
"""

from multidiff.diffusion.guidance.autoguidance import Autoguidance
from multidiff.diffusion.guidance.base import ConditionGuidance, Guidance, Scale
from multidiff.diffusion.guidance.classifier_free import ClassifierFreeGuidance
from multidiff.diffusion.guidance.composed import ComposedGuidance, PerpendicularNegativeGuidance
from multidiff.diffusion.guidance.projected import AdaptiveProjectedGuidance
from multidiff.diffusion.guidance.scales import CFGPlusPlus, ScaleCurve

__all__ = [
    "AdaptiveProjectedGuidance",
    "Autoguidance",
    "CFGPlusPlus",
    "ClassifierFreeGuidance",
    "ComposedGuidance",
    "ConditionGuidance",
    "Guidance",
    "PerpendicularNegativeGuidance",
    "Scale",
    "ScaleCurve",
]
