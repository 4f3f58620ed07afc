"""MultiDiff: train and sample diffusion models of any modality."""

from multidiff.diffusion.samplers import sample
from multidiff.model_directory import load
from multidiff.pipeline import Pipeline

__all__ = ["Pipeline", "load", "sample"]
