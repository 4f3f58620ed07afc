"""Objectives: the losses that training minimises."""

from multidiff.diffusion.objectives.base import Context, Objective
from multidiff.diffusion.objectives.denoising import Denoising
from multidiff.diffusion.objectives.distillation import Distillation
from multidiff.diffusion.objectives.times import LogitNormal, LogNormalSigma, Stratified, TimeDistribution, Uniform
from multidiff.diffusion.objectives.weighting import EDMWeighting, MinSNR, SigmoidWeighting, UniformWeighting, Weighting

__all__ = [
    "Context",
    "Denoising",
    "Distillation",
    "EDMWeighting",
    "LogNormalSigma",
    "LogitNormal",
    "MinSNR",
    "Objective",
    "SigmoidWeighting",
    "Stratified",
    "TimeDistribution",
    "Uniform",
    "UniformWeighting",
    "Weighting",
]
