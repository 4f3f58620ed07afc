"""Sizes that headers claim, checked before memory is taken for them."""

from multidiff.errors import InputError


def check_claim(claimed: int, present: int, what: str) -> None:
    """Refuse a file that claims more than is there.

    Raises:
        InputError: naming both numbers.
    """
    if claimed > present:
        raise InputError(f"truncated: {present} of {claimed} {what} are there")
