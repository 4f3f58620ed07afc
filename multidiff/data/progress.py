"""How far what takes long is."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

Item = TypeVar("Item")

_QUIET = 10.0
"""Seconds until the first line where there is no terminal; each further one comes after twice as many."""


def progress(items: Iterable[Item], count: int, doing: str, *, silent: bool = False) -> Iterator[Item]:
    """``items``, which are ``count``, each of which is done when the next one is taken; shown as by `advancing`."""
    with advancing(count, doing, silent=silent) as advance:
        for item in items:
            yield item
            advance(1)


@contextmanager
def advancing(count: int, doing: str, *, silent: bool = False) -> Iterator[Callable[[int], None]]:
    """Show how far the work inside is: by a bar on a terminal, which vanishes; elsewhere by a line now and then.

    Args:
        count: of the things to do.
        doing: what happens to them, such as ``Decoding {} files``; the braces become the count.
        silent: to show nothing.

    Yields:
        A function to be told how many more are done.
    """
    from rich.console import Console  # noqa: PLC0415  sampling in Python needs no bar
    from rich.progress import Progress  # noqa: PLC0415

    console, doing = Console(stderr=True, quiet=silent), doing.format(f"{count:,}")
    if not console.is_terminal:
        yield Lines(console, count, doing)
        return
    with Progress(console=console, transient=True, disable=silent) as bar:
        task = bar.add_task(doing, total=count)
        yield lambda more: bar.advance(task, more)


class Lines:
    """Prints how far the work is, ever less often.

    Args:
        console: to print on.
        count: of the things to do.
        doing: what happens to them.
    """

    def __init__(self, console: "Console", count: int, doing: str):
        self.console, self.count, self.doing = console, count, doing
        self.began, self.done, self.due = time.monotonic(), 0, _QUIET

    def __call__(self, more: int) -> None:
        """``more`` things are done."""
        self.done += more
        seconds = time.monotonic() - self.began
        if seconds >= self.due:
            self.console.print(f"{self.doing}: {self.done / self.count:.0%} in {seconds:.0f} s")
            self.due = 2 * seconds
