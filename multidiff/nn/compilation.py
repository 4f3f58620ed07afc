"""Compilation with torch, with a fallback where it fails, for example because there is no C++ compiler."""

from collections.abc import Callable
from typing import Any

from torch._dynamo.exc import TorchDynamoException


def with_fallback(
    compiled: Callable[..., Any], plain: Callable[..., Any], failed: Callable[[str], None]
) -> Callable[..., Any]:
    """Call ``compiled``; if its compilation fails at the first call, call ``plain`` from then on.

    Args:
        compiled: result of `torch.compile`.
        plain: the function before compilation.
        failed: called with a one-line reason if compilation fails.
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
    """The first line of the message; for errors of a backend, that of the inner exception."""
    cause = getattr(error, "inner_exception", error)
    return next((line.strip() for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
