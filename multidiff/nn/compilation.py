"""Compilation by torch, which may fail where a compiler is missing, and must not stop what works without it."""

from collections.abc import Callable
from typing import Any

from torch._dynamo.exc import TorchDynamoException


def with_fallback(
    compiled: Callable[..., Any], plain: Callable[..., Any], failed: Callable[[str], None]
) -> Callable[..., Any]:
    """``compiled``, which torch compiles at its first call; should that fail, ``plain`` from then on.

    Args:
        compiled: what `torch.compile` returns.
        plain: does the same, slower.
        failed: told in a line why compilation failed.
    """
    broken = False

    def attempt(*arguments: Any, **named: Any) -> Any:
        nonlocal broken
        if not broken:
            try:
                return compiled(*arguments, **named)
            except TorchDynamoException as error:
                failed(_first_line(error))
                broken = True
        return plain(*arguments, **named)

    return attempt


def _first_line(error: Exception) -> str:
    """What went wrong, in a line; of what a backend raised, what it says rather than that it was raised."""
    cause = getattr(error, "inner_exception", error)
    return next((line.strip() for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
