"""A limit on time for what runs in this process, where it cannot run in another one."""

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import FrameType

log = logging.getLogger(__name__)


class LateError(BaseException):
    """The time is over; not an `Exception`, so that no decoder takes it for one of its own."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise `LateError` in the block after ``seconds``, as soon as Python runs: not within a call of a library.

    On Unix, in the main thread; elsewhere there is no limit.
    """

    def late(number: int, frame: FrameType | None) -> None:
        raise LateError

    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    started, before = time.monotonic(), signal.signal(signal.SIGALRM, late)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left:  # of a timer that ran before
            signal.setitimer(signal.ITIMER_REAL, max(1e-3, left - (time.monotonic() - started)), interval)


@cache
def tell_what_does_not_hold() -> None:
    """Say, once, that files are decoded without the limits of Linux."""
    log.warning(
        "without Linux, files are decoded in this process: memory has no limit, and neither has the time of a library "
        "call; a file that crashes its decoder ends the training"
    )
