"""A plan that is being carried out: its progress, a picture of what is being denoised, and a way to stop it."""

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL.Image import Image
from torch import Tensor

from multidiff.errors import InputError
from multidiff.sampling.plan import Plan

SHOWN = 4
"""Samples in the picture of what is being denoised."""

SHARE = 6
"""A picture may take one part in so many of the time; the rest is for the samples."""

EVERY = 0.2
"""Seconds between reports, at least."""


class StoppedError(InputError):
    """The job was told to stop, or ran out of time."""


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Attributes:
        done: the part that is done, from 0 to 1.
        seconds: since the start.
        picture: the present estimate of the first samples; None where it has not changed.
    """

    done: float
    seconds: float
    picture: Image | None

    @property
    def left(self) -> float:
        """Seconds left at the present speed."""
        return self.seconds * (1 - self.done) / self.done if self.done else 0.0


class Job:
    """Generates the samples of a plan in a thread of its own.

    Args:
        plan: what to generate.
        seconds: after which the job stops by itself.
    """

    def __init__(self, plan: Plan, seconds: float):
        self.plan, self.seconds = plan, seconds
        self.artifacts: list[Any] = []
        self._reason = ""
        self._started = time.monotonic()
        self._drawn = -float("inf")
        self._cost = 0.0
        self._told = -float("inf")
        self._done = 0.0
        self._events: queue.SimpleQueue[Progress | BaseException | None] = queue.SimpleQueue()

    def stop(self, reason: str = "stopped") -> None:
        """Let the job end after the present evaluation of the network."""
        self._reason = self._reason or reason

    def run(self) -> Iterator[Progress]:
        """Generate, and yield the progress; afterwards `artifacts` are complete.

        Raises:
            StoppedError: `stop` was called, or the time is up.
        """
        self._started = time.monotonic()
        worker = threading.Thread(target=self._work, daemon=True)
        worker.start()
        try:
            while (event := self._events.get()) is not None:
                if isinstance(event, BaseException):
                    raise event
                yield event
        finally:  # the reader may have gone away
            self.stop("no client waits for it")
            worker.join()

    def _work(self) -> None:
        try:
            conditions = self.plan.conditions()
            for rows in self.plan.batches:

                def step(done: int, x: Tensor, rows: range = rows) -> None:
                    self._done = self.plan.done(rows, done)
                    self._report()

                self.artifacts += self.plan.generate(rows, step, conditions, self._estimate)
            self._events.put(None)
        except BaseException as error:  # noqa: BLE001  raised in the thread that reads the progress
            self._events.put(error)

    def _estimate(self, x0: Tensor) -> None:
        """End the job if it must, and draw the estimate now and then."""
        if time.monotonic() - self._started > self.seconds:
            self.stop(f"it took longer than this studio allows, {self.seconds:g} s")
        if self._reason:
            raise StoppedError(self._reason)
        now = time.monotonic()
        if now - self._drawn > max(EVERY, SHARE * self._cost):
            picture = self.plan.pipeline.modality.preview(self.plan.pipeline.artifacts(x0[:SHOWN]))
            self._drawn = time.monotonic()
            self._cost = self._drawn - now
            self._report(picture)

    def _report(self, picture: Image | None = None) -> None:
        """Tell the reader, unless it was told a moment ago."""
        now = time.monotonic()
        if picture is not None or now - self._told > EVERY:
            self._told = now
            self._events.put(Progress(self._done, now - self._started, picture))
