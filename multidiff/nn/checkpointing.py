"""Gradient checkpointing: less memory for more computation, with the same gradients."""

from collections.abc import Callable
from typing import Any

from torch.utils.checkpoint import checkpoint


def call(block: Callable[..., Any], *arguments: Any) -> Any:
    """Call ``block`` without checkpointing."""
    return block(*arguments)


def checkpointed(block: Callable[..., Any], *arguments: Any) -> Any:
    """Call ``block`` and store only its arguments; the backward pass recomputes it with the same dropout.

    Chen et al. (2016), https://arxiv.org/abs/1604.06174.
    """
    return checkpoint(block, *arguments, use_reentrant=False)
