"""Modules that are used but never trained, saved or copied."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class Frozen(nn.Module):
    """A teacher, a pretrained encoder or a codec inside a module that trains.

    Its parameters and buffers are not those of its owner: they reach no optimiser, no checkpoint and no model file, and
    a deep copy of the owner, such as a moving average, shares them. Moving the owner to a device or a precision moves
    them too. It stays in evaluation mode.

    Args:
        module: to freeze.
    """

    def __init__(self, module: nn.Module):
        super().__init__()
        self._held = [module.eval().requires_grad_(False)]  # in a list, which torch does not look into

    @property
    def module(self) -> nn.Module:
        """The frozen module."""
        return self._held[0]

    def forward(self, *arguments: Any, **named: Any) -> Any:
        """Call the frozen module."""
        return self.module(*arguments, **named)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> "Frozen":
        self.module._apply(fn, recurse)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Frozen":
        return Frozen(self.module)
