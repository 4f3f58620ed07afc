"""Frozen modules: used in the forward pass, but never trained, saved or copied."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn

_loading = ContextVar("loading", default=False)


@contextmanager
def loading_frozen() -> Iterator[None]:
    """Marks modules that are built from files of their own, and will be frozen."""
    token = _loading.set(True)
    try:
        yield
    finally:
        _loading.reset(token)


def is_loading_frozen() -> bool:
    """Whether the modules built now are frozen ones."""
    return _loading.get()


class Frozen(nn.Module):
    """A frozen module (a teacher, a pretrained encoder, a codec) inside a module that is trained.

    Its parameters and buffers are not registered with the owner: optimisers, checkpoints and model files do not contain
    them, and deep copies of the owner, such as its EMA, share them. They follow the owner to another device or dtype.
    The module stays in evaluation mode.

    Args:
        module: the module to freeze.
    """

    def __init__(self, module: nn.Module):
        super().__init__()
        self._held = [module.eval().requires_grad_(False)]  # a list, so that torch does not register it

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
