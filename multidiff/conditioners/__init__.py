"""Conditioners: from named fields of a sample to a `Conditioning`."""

from multidiff.conditioners.base import Conditioner, FieldConditioner
from multidiff.conditioners.label import LabelConditioner
from multidiff.conditioners.number import NumberConditioner
from multidiff.conditioners.pretrained_text import PretrainedTextConditioner
from multidiff.conditioners.static_text import StaticTextConditioner
from multidiff.conditioners.text import TextConditioner
from multidiff.conditioners.words import WordConditioner

__all__ = [
    "Conditioner",
    "FieldConditioner",
    "LabelConditioner",
    "NumberConditioner",
    "PretrainedTextConditioner",
    "StaticTextConditioner",
    "TextConditioner",
    "WordConditioner",
]
