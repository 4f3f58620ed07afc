"""How far what takes long is."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")

_QUIET = 10.0
"""Seconds until the first line where there is no terminal; each further one comes after twice as many."""

_QUIET_BAR = 1.0
"""Seconds until a bar is shown on a terminal for what may be short: it would only flash."""


def progress(
    items: Iterable[Item], count: int, doing: str, *, at_once: bool = False, silent: bool = False
) -> Iterator[Item]:
    """``items``, which are ``count``, each of which is done when the next one is taken; see `advancing`."""
    with advancing(count, doing, at_once=at_once, silent=silent) as advance:
        for item in items:
            yield item
            advance(1)


@contextmanager
def advancing(count: int, doing: str, *, at_once: bool = True, silent: bool = False) -> Iterator[Callable[[int], None]]:
    """Show how far the work inside is: by a bar on a terminal, which vanishes; elsewhere by a few lines.

    Args:
        count: of the things to do.
        doing: what happens to them, such as ``Decoding {} files``; the braces become the count.
        at_once: whether there is a bar from the start, or only after a second.
        silent: to show nothing.

    Yields:
        A function to be told how many more are done.
    """
    from rich.console import Console  # noqa: PLC0415  sampling in Python needs no bar
    from rich.progress import Progress  # noqa: PLC0415

    console, doing = Console(stderr=True, quiet=silent), doing.format(f"{count:,}")
    bar = Progress(console=console, transient=True, disable=silent or not console.is_interactive)
    task = bar.add_task(doing, total=count)
    began, done, due = time.monotonic(), 0, _QUIET if bar.disable else _QUIET_BAR

    def advance(more: int) -> None:
        nonlocal done, due
        done += more
        bar.update(task, completed=done)
        seconds = time.monotonic() - began
        if seconds >= due:
            bar.start()
            if bar.disable:
                console.print(f"{doing}: {done / count:.0%} in {seconds:.0f} s")
                due = 2 * seconds

    try:
        if at_once:
            bar.start()
        yield advance
    finally:
        bar.stop()
