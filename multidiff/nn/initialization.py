"""How layers start."""

from typing import TypeVar

from torch import nn

Layer = TypeVar("Layer", bound=nn.Module)


def zero(layer: Layer) -> Layer:
    """The same layer with all parameters zero, so that a residual branch starts by adding nothing."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
