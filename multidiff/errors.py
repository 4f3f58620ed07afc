"""The error that reports wrong input."""

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Something given to MultiDiff cannot be used: an option, a file, a configuration.

    The message is one line that says what is wrong, where, and what would be accepted. The command line prints it and
    exits with status 2.
    """


class DiskFullError(InputError):
    """There is no space left for a file."""


@contextmanager
def refusals() -> Iterator[None]:
    """Turn a `ValueError` of the core into an `InputError`."""
    try:
        yield
    except ValueError as error:
        raise InputError(str(error)) from error
