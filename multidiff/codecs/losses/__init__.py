"""What the training of a codec minimises."""

from multidiff.codecs.losses.base import Batch, Reconstruction

__all__ = ["Batch", "Reconstruction"]
