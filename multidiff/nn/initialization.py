"""Initialisation of layers."""

from typing import TypeVar

from torch import nn

Layer = TypeVar("Layer", bound=nn.Module)


def zero_init(layer: Layer) -> Layer:
    """Set all parameters of ``layer`` to zero and return it: a residual branch then starts as the identity."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
