"""Compilation with torch, with a fallback where it fails, for example because there is no C++ compiler."""

from collections.abc import Callable
from typing import Any

from torch import nn


def with_fallback(
    compiled: Callable[..., Any], plain: Callable[..., Any], failed: Callable[[str], None]
) -> Callable[..., Any]:
    """Call ``compiled``, or ``plain`` once the compilation has failed at the first call.

    Args:
        compiled: result of `torch.compile`.
        plain: the function before compilation.
        failed: called with a one-line reason if compilation fails.
    """
    from torch._dynamo.exc import TorchDynamoException  # noqa: PLC0415  a second, which only compilation needs

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


def compile_in_place(network: nn.Module, failed: Callable[[str], None]) -> None:
    """Compile ``network``, at its first call; if that fails, run it uncompiled.

    Dropout uses the random numbers of uncompiled runs, so that a loss is the same up to rounding.

    Args:
        network: the names in its state stay as they are.
        failed: called with a one-line reason if compilation fails.
    """
    network.compile(options={"fallback_random": True})
    network._compiled_call_impl = with_fallback(
        network._compiled_call_impl,  # type: ignore[arg-type]  # torch declares it as None
        network._call_impl,
        failed,
    )


def _first_line(error: Exception) -> str:
    """The first line of the message; for errors of a backend, that of the inner exception."""
    cause = getattr(error, "inner_exception", error)
    return next((line.strip() for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
