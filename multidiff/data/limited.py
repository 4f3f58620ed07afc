"""A function in a process of its own, within a limit on memory, for files that are not decoded one by one."""

import faulthandler
import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, Never, TypeVar

from multidiff.data.decoding import OverrunError
from multidiff.data.machine import forked, limit_memory
from multidiff.errors import InputError

T = TypeVar("T")


def limited(function: Callable[[], T], memory: int) -> T:
    """What ``function`` returns, or the `InputError` that it raises; pickled, since it runs in another process.

    Elsewhere than on Linux it runs in this process, without a limit. Memory-mapped files do not count.

    Args:
        function: to call.
        memory: bytes that it may take beyond those in use.

    Raises:
        InputError: the function raises it.
        OverrunError: it takes more memory, fails, crashes or cannot be started; the message does not name what is read.
    """
    if sys.platform != "linux":
        return function()
    try:
        process, connection = forked(lambda theirs: _serve(theirs, function, memory))
    except OSError as error:
        raise OverrunError(f"cannot be read, since no process can be started for it: {error.strerror}") from error
    try:
        outcome: Any = connection.recv()
    except EOFError:
        outcome = None
    finally:
        connection.close()
        os.kill(process, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if outcome is None:
        raise OverrunError(f"crashes its reader ({status})")
    if isinstance(outcome, InputError):
        raise outcome
    (result,) = outcome
    return result


def _serve(connection: Connection, function: Callable[[], Any], memory: int) -> Never:
    """Call ``function``, answer, and end."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        faulthandler.disable()  # a crash is told in a line
        limit_memory(memory, mapped=False)
        connection.send_bytes(_pickled(function, memory))
        os._exit(0)
    finally:
        os._exit(1)


def _pickled(function: Callable[[], Any], memory: int) -> bytes:
    try:
        return pickle.dumps((function(),), pickle.HIGHEST_PROTOCOL)
    except InputError as error:
        refused = InputError(str(error))
    except MemoryError:
        refused = OverrunError(f"takes more than {memory / 2**30:.3g} GB of memory to read")
    except Exception as error:  # noqa: BLE001  readers raise whatever a damaged file leads them to
        refused = OverrunError(f"cannot be read: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
    return pickle.dumps(refused, pickle.HIGHEST_PROTOCOL)


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """Writing more than ``size`` bytes into a file is an `OSError` (`EFBIG`)."""
    import resource  # noqa: PLC0415  of Unix only

    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size if most < 0 else min(size, most), most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))
