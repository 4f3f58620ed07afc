"""Objectives: the losses that training minimises."""

from multidiff.diffusion.objectives.base import Context, Objective, Trained
from multidiff.diffusion.objectives.consistency import Consistency
from multidiff.diffusion.objectives.consistency_continuous import ContinuousConsistency
from multidiff.diffusion.objectives.denoising import Denoising
from multidiff.diffusion.objectives.distillation import Distillation
from multidiff.diffusion.objectives.distribution_matching import DistributionMatching
from multidiff.diffusion.objectives.guided_distillation import GridTimes, GuidedDistillation, ProgressiveDistillation
from multidiff.diffusion.objectives.latent_consistency import LatentConsistency
from multidiff.diffusion.objectives.mean_flow import MeanFlow
from multidiff.diffusion.objectives.times import LogitNormal, LogNormalSigma, Stratified, TimeDistribution, Uniform
from multidiff.diffusion.objectives.weighting import EDMWeighting, MinSNR, SigmoidWeighting, UniformWeighting, Weighting

__all__ = [
    "Consistency",
    "Context",
    "ContinuousConsistency",
    "Denoising",
    "Distillation",
    "DistributionMatching",
    "EDMWeighting",
    "GridTimes",
    "GuidedDistillation",
    "LatentConsistency",
    "LogNormalSigma",
    "LogitNormal",
    "MeanFlow",
    "MinSNR",
    "Objective",
    "ProgressiveDistillation",
    "SigmoidWeighting",
    "Stratified",
    "TimeDistribution",
    "Trained",
    "Uniform",
    "UniformWeighting",
    "Weighting",
]
