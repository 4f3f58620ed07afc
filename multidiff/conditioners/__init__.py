"""Conditioners turn what a person asks for into a `Conditioning`."""

from multidiff.conditioners.base import Conditioner, Unconditional
from multidiff.conditioners.label import LabelConditioner
from multidiff.conditioners.text import WordConditioner

__all__ = ["Conditioner", "LabelConditioner", "Unconditional", "WordConditioner"]
