"""Codecs: between data and what the network sees."""

from multidiff.codecs.base import Codec, Identity
from multidiff.codecs.scaling import Scaling

__all__ = ["Codec", "Identity", "Scaling"]
