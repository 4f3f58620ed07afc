"""Gradient checkpointing: less memory for more time, at the same gradients."""

from collections.abc import Callable
from typing import Any

from torch.utils.checkpoint import checkpoint


def call(block: Callable[..., Any], *arguments: Any) -> Any:
    """What ``block`` makes of ``arguments``."""
    return block(*arguments)


def recomputed(block: Callable[..., Any], *arguments: Any) -> Any:
    """The same, remembering nothing but ``arguments``: the backward pass computes the block again, dropout included.

    Chen et al. (2016), https://arxiv.org/abs/1604.06174.
    """
    return checkpoint(block, *arguments, use_reentrant=False)
