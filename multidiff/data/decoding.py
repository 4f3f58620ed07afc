"""Decoding of files in processes of their own, within limits on memory and time.

A file that crashes its decoder, never ends or takes all memory costs that process alone. Like a file that the decoder
refuses, it is left out by name. On Linux only: elsewhere, where a fork is not safe or does not exist, files are decoded
in the calling process, with the limit on time between two steps of Python.
"""

import faulthandler
import os
import pickle
import signal
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Never
from weakref import finalize

import numpy as np
import torch

from multidiff.data.alarm import LateError, tell_what_does_not_hold, within
from multidiff.data.machine import forked, limit_memory, memory, usable_cores
from multidiff.errors import InputError
from multidiff.modality import File, Preparation, name_of

_FORKS = sys.platform == "linux"

_MOST = 16
"""Processes that decode a folder, at most."""

_QUEUED = 4
"""Files that are sent to a process ahead of their turn."""

_HELD = 16
"""Results for each process that may wait for an earlier one."""

_LONGEST = 200
"""Characters of an unforeseen error that are repeated."""


class OverrunError(InputError):
    """A file that took more than its limits, or whose decoder was killed; another time it may be decoded."""


@dataclass(frozen=True)
class Limits:
    """What one file may take.

    Attributes:
        memory: bytes.
        seconds: of wall-clock time.
    """

    memory: int
    seconds: float


def default_limits() -> Limits:
    """8 GB, or half of the memory if that is less, and two minutes."""
    return Limits(min(8 * 2**30, memory() // 2 if _FORKS else 0), 120.0)


@dataclass(frozen=True)
class _Reply:
    """The outcome of one file: an array and what the preparation noted, or the reason why there is none."""

    array: np.ndarray | None = None
    noted: tuple[Any, ...] = ()
    reason: str = ""
    overrun: bool = False


class Decoder:
    """Prepares one file at a time in a process of its own, which starts with the first file.

    A copy of the object in another process, such as a loader, starts a process for itself.

    Args:
        preparation: makes an array of a file; its `Preparation.noted` is kept up to date.
        limits: of each file.
    """

    def __init__(self, preparation: Preparation, limits: Limits | None = None):
        self.preparation, self.limits = preparation, limits or default_limits()
        self._worker: _Worker | None = None

    def __call__(self, file: File) -> np.ndarray:
        """The prepared array.

        Raises:
            InputError: the file cannot be used; the message names it.
        """
        if not _FORKS:
            return _array(_here(self.preparation, file, self.limits), self.preparation)
        if self._worker is None or self._worker.owner != os.getpid():
            self._worker = _Worker(self.preparation, self.limits)
            finalize(self, self._worker.close)
        try:
            self._worker.submit(0, file)
            _, reply = self._worker.collect()
        except BaseException:  # such as Ctrl-C: the answer to this file must not become that to the next
            self._worker.close()
            self._worker = None
            raise
        return _array(reply, self.preparation)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_worker": None}


def decode_all(
    preparation: Preparation, files: Sequence[File], limits: Limits | None = None
) -> Iterator[np.ndarray | InputError]:
    """The prepared arrays of ``files`` in their order, on all cores; an error in the place of one that cannot be used.

    Args:
        preparation: makes an array of a file; its `Preparation.noted` is kept up to date.
        files: paths, since several are sent ahead.
        limits: of each file.
    """
    limits = limits or default_limits()
    here = (_here(preparation, file, limits) for file in files)
    for reply in _replies(preparation, files, limits) if _FORKS else here:
        try:
            yield _array(reply, preparation)
        except InputError as error:
            yield error


def _array(reply: _Reply, preparation: Preparation) -> np.ndarray:
    if reply.array is None:
        raise (OverrunError if reply.overrun else InputError)(reply.reason)
    preparation.noted.extend(reply.noted)
    return reply.array


def _replies(preparation: Preparation, files: Sequence[File], limits: Limits) -> Iterator[_Reply]:
    count = min(usable_cores(), len(files), _MOST)
    workers: list[_Worker] = []
    replies: dict[int, _Reply] = {}
    sent = 0
    try:
        for _ in range(count):
            workers.append(_Worker(preparation, limits))  # one by one: if one fails, the others are closed
        for number in range(len(files)):
            while number not in replies:
                for worker in workers:
                    while len(worker.pending) < _QUEUED and sent < min(len(files), number + _HELD * count):
                        worker.submit(sent, files[sent])
                        sent += 1
                busy = {worker.connection: worker for worker in workers if worker.pending}
                for connection in wait(list(busy)):
                    answered, reply = busy[connection].collect()  # type: ignore[index]
                    replies[answered] = reply
            yield replies.pop(number)
    finally:
        for worker in workers:
            worker.close()


class _Worker:
    """A process that decodes files one after another, and its replacement when it dies.

    Attributes:
        owner: the process that may use it.
        pending: number and file of each that is not answered yet.
    """

    def __init__(self, preparation: Preparation, limits: Limits):
        self.preparation, self.limits, self.owner = preparation, limits, os.getpid()
        self.pending: deque[tuple[int, File]] = deque()
        self._start()

    def submit(self, number: int, file: File) -> None:
        self.pending.append((number, file))
        self._send(file)

    def collect(self) -> tuple[int, _Reply]:
        """Wait for the oldest pending file."""
        try:
            reply: _Reply | None = self.connection.recv()
        except (EOFError, OSError):
            reply = None
        number, file = self.pending.popleft()
        return number, reply or self._died(file)

    def close(self) -> None:
        """End the process, in the process that started it."""
        if self.owner == os.getpid() and not self.connection.closed:
            self.connection.close()
            os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)

    def _start(self) -> None:
        try:
            self.process, self.connection = forked(lambda theirs: _serve(theirs, self.preparation, self.limits))
        except OSError as error:
            raise InputError(f"cannot start a process to decode files: {error.strerror}") from error

    def _send(self, file: File) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # `collect` finds it dead
            self.connection.send(file)

    def _died(self, file: File) -> _Reply:
        self.connection.close()
        status = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
        self._start()
        for _, following in self.pending:
            self._send(following)
        overrun = status in (-signal.SIGALRM, -signal.SIGKILL)
        return _Reply(reason=f"{name_of(file)}: {self._cause(status)}", overrun=overrun)

    def _cause(self, status: int) -> str:
        if status == -signal.SIGALRM:
            return f"takes more than {self.limits.seconds:g} s to decode"
        if status == -signal.SIGKILL:
            return "its decoder was killed, probably for lack of memory"
        return f"crashes its decoder ({signal.Signals(-status).name if status < 0 else f'exit status {status}'})"


def _serve(connection: Connection, preparation: Preparation, limits: Limits) -> Never:
    """The life of a worker process, which ends when the connection does.

    A signal to all processes of a run is left to the parent. `SIGALRM` ends a process that takes too long, whatever
    it is doing, even after its parent.
    """
    try:
        _leave_signals_to_the_parent()
        torch.set_num_threads(1)  # the threads of the parent are not here
        limit_memory(limits.memory)
        preparation.noted.clear()
        while True:
            file = connection.recv()
            signal.setitimer(signal.ITIMER_REAL, limits.seconds)
            content = _pickled(preparation, file, limits)
            signal.setitimer(signal.ITIMER_REAL, 0)
            connection.send_bytes(content)
    except (EOFError, OSError):
        os._exit(0)
    finally:
        os._exit(1)


def _leave_signals_to_the_parent() -> None:
    """Ignore what the parent handles, and let crashes and the alarm end this process, in silence."""
    handled = {number for number in signal.valid_signals() if callable(signal.getsignal(number))}
    for ignored in handled | {signal.SIGINT, signal.SIGTERM}:
        signal.signal(ignored, signal.SIG_IGN)
    faulthandler.disable()
    for default in (signal.SIGALRM, signal.SIGCHLD, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV):  # torch handles some
        signal.signal(default, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})


def _pickled(preparation: Preparation, file: File, limits: Limits) -> bytes:
    try:
        return pickle.dumps(_attempt(preparation, file), pickle.HIGHEST_PROTOCOL)
    except MemoryError:
        reason = f"{name_of(file)}: takes more than {limits.memory / 2**30:.3g} GB of memory to decode"
        return pickle.dumps(_Reply(reason=reason, overrun=True))


def _here(preparation: Preparation, file: File, limits: Limits) -> _Reply:
    """The outcome of a file that is decoded in this process, which another one cannot do everywhere."""
    tell_what_does_not_hold()
    try:
        with within(limits.seconds):
            return _attempt(preparation, file)
    except LateError:
        return _Reply(reason=f"{name_of(file)}: takes more than {limits.seconds:g} s to decode", overrun=True)
    except MemoryError:
        return _Reply(reason=f"{name_of(file)}: needs more memory to decode than is available", overrun=True)


def _attempt(preparation: Preparation, file: File) -> _Reply:
    before = len(preparation.noted)
    try:
        array = np.ascontiguousarray(preparation.prepare(file))
        return _Reply(array, tuple(preparation.noted[before:]))
    except InputError as error:
        return _Reply(reason=str(error))
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  decoders raise whatever a damaged file leads them to
        text = " ".join(str(error).split())[:_LONGEST]
        return _Reply(reason=f"{name_of(file)}: {type(error).__name__}{': ' if text else ''}{text}")
    finally:
        del preparation.noted[before:]
