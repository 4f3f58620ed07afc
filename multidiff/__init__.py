"""MultiDiff: train and sample diffusion models of any modality."""

from multidiff.diffusion.samplers import sample
from multidiff.sampling.model_directory import load
from multidiff.sampling.pipeline import Pipeline

__all__ = ["Pipeline", "load", "sample"]
