"""What the machine, or the container, gives to this process."""

import os
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Never


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> int:
    """Bytes of memory of the machine, or of the container where that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    return total if text == "max" else min(total, int(text))


def forked(serve: Callable[[Connection], Never]) -> tuple[int, Connection]:
    """A new process that runs ``serve`` on its end of a connection; its number, and the other end.

    Raises:
        OSError: it cannot be started.
    """
    connection, theirs = Pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which the child does not use
        process = os.fork()
    if not process:
        connection.close()  # else it would keep itself alive
        serve(theirs)
    theirs.close()
    return process, connection


def limit_memory(size: int, *, mapped: bool = True) -> None:
    """Let this process take ``size`` bytes more than it has, on Linux; its crashes leave no core.

    Args:
        size: in bytes.
        mapped: whether memory-mapped files count.
    """
    import resource  # noqa: PLC0415  of Unix only

    pages = Path("/proc/self/statm").read_text().split()
    kind, present = (resource.RLIMIT_AS, pages[0]) if mapped else (resource.RLIMIT_DATA, pages[5])
    _, most = resource.getrlimit(kind)
    wanted = int(present) * os.sysconf("SC_PAGE_SIZE") + size
    resource.setrlimit(kind, (wanted if most < 0 else min(wanted, most), most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
