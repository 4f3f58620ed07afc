"""The errors that report wrong input, and what their messages share."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches

LISTED, NEAREST = 20, 5
"""Names that a message lists, and names like a wrong one."""


class InputError(ValueError):
    """Something given to MultiDiff cannot be used: an option, a file, a configuration.

    The message is one line that says what is wrong, where, and what would be accepted. The command line prints it and
    exits with status 2.
    """


class DiskFullError(InputError):
    """There is no space left for a file."""


def first_of(items: Sequence[str], count: int) -> str:
    """``a, b, c and 12 more``: at most ``count`` of ``items`` in a message."""
    more = f" and {len(items) - count} more" if len(items) > count else ""
    return ", ".join(items[:count]) + more


def few_of(names: Sequence[str], wanted: str = "") -> str:
    """``names`` in a message: all of few; of many, those most like ``wanted``, or the first, and how many there are."""
    if len(names) <= LISTED:
        return ", ".join(names)
    shown = get_close_matches(wanted, names, NEAREST) or names[:LISTED]
    return f"{', '.join(shown)} and {len(names) - len(shown)} more"


@contextmanager
def refusals() -> Iterator[None]:
    """Turn a `ValueError` of the core into an `InputError`."""
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        raise InputError(str(error)) from error
