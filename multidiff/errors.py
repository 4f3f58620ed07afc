"""The one error that is the user's to mend."""

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Something given to MultiDiff cannot be used: an option, a file, a configuration.

    The message is one line that says what is wrong, where, and what would be accepted. The command line prints it and
    exits with status 2.
    """


@contextmanager
def refusals() -> Iterator[None]:
    """What the core refuses as a value is the user's to mend."""
    try:
        yield
    except ValueError as error:
        raise InputError(str(error)) from error
