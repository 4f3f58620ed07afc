"""Codecs: between data and what the network sees."""

from multidiff.codecs.autoencoder import Autoencoder, Locality
from multidiff.codecs.base import Codec, Identity
from multidiff.codecs.bottleneck import KL, Bottleneck, Bounded, Latents
from multidiff.codecs.scaling import Scaling

__all__ = [
    "KL",
    "Autoencoder",
    "Bottleneck",
    "Bounded",
    "Codec",
    "Identity",
    "Latents",
    "Locality",
    "Scaling",
]
