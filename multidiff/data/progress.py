"""How far a long pass over data is."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

_QUIET = 10.0
"""Seconds until the first line where there is no terminal; each further one comes after twice as many."""


def progress(items: Iterable[Item], count: int, doing: str) -> Iterator[Item]:
    """``items``, which are ``count``, with a bar on a terminal that vanishes; elsewhere with a line now and then.

    Args:
        items: made while they are iterated over.
        count: of items.
        doing: what happens to them, such as ``Decoding {} files``; the braces become the count.
    """
    from rich.console import Console  # noqa: PLC0415  sampling needs no bar
    from rich.progress import track  # noqa: PLC0415

    console, doing = Console(stderr=True), doing.format(f"{count:,}")
    if console.is_terminal:
        yield from track(items, doing, count, console=console, transient=True)
        return
    began, due = time.monotonic(), _QUIET
    for done, item in enumerate(items, 1):
        yield item
        passed = time.monotonic() - began
        if passed >= due:
            console.print(f"{doing}: {done / count:.0%} in {passed:.0f} s")
            due = 2 * passed
