"""The line of requests before the models: one is served at a time, and the others wait."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from multidiff.errors import InputError
from multidiff.studio.jobs import Job, StoppedError


@dataclass(frozen=True)
class Waiting:
    """A request that waits.

    Attributes:
        before: number of requests that are served first, at least 1.
    """

    before: int


class Line:
    """The requests of all visitors, in the order of their arrival; the first is served.

    Args:
        most: number of requests that may wait.
    """

    def __init__(self, most: int):
        self.most = most
        self._places: list[Place] = []
        self._moved = threading.Condition()

    def __len__(self) -> int:
        return len(self._places)

    @contextmanager
    def place(self, session: str) -> Iterator["Place"]:
        """A place at the end of the line, which is given up at the end of the context.

        Raises:
            InputError: too many requests wait already.
        """
        place = Place(self, session)
        with self._moved:
            if len(self) > self.most:
                raise InputError(f"{self.most} requests wait already: try again later")
            self._places.append(place)
        try:
            yield place
        finally:
            with self._moved:
                self._places = [each for each in self._places if each is not place]
                self._moved.notify_all()

    def stop(self, session: str | None = None, reason: str = "stopped") -> bool:
        """Stop the requests of a visitor, of all visitors by default; whether there were any.

        The one that is served ends after the present evaluation of the network, and those that wait leave the line.
        """
        with self._moved:
            stopped = [place for place in self._places if session in (None, place.session)]
            self._places = [place for i, place in enumerate(self._places) if i == 0 or place not in stopped]
            for place in stopped:
                place.stop(reason)
            self._moved.notify_all()
        return bool(stopped)

    def before(self, place: "Place", known: int) -> int:
        """Wait until the number of requests before ``place`` is not ``known``; that number.

        Raises:
            StoppedError: the request was stopped.
        """
        with self._moved:
            self._moved.wait_for(lambda: place.reason or self._places.index(place) != known)
            if place.reason:
                raise StoppedError(place.reason)
            return self._places.index(place)


class Place:
    """The place of one request in a line.

    Attributes:
        session: of the visitor.
        reason: why the request was stopped; empty while it was not.
    """

    def __init__(self, line: Line, session: str):
        self.session, self.reason = session, ""
        self._line = line
        self._job: Job | None = None

    def turn(self) -> Iterator[Waiting]:
        """Wait until this request is the first; yields whenever the number of those before it changes.

        Raises:
            StoppedError: the request was stopped.
        """
        known = -1
        while known := self._line.before(self, known):
            yield Waiting(known)

    def begin(self, job: Job) -> None:
        """Let `stop` stop ``job``."""
        self._job = job
        if self.reason:  # since the turn came
            job.stop(self.reason)

    def stop(self, reason: str) -> None:
        """Stop the request."""
        self.reason = self.reason or reason
        if self._job is not None:
            self._job.stop(self.reason)
