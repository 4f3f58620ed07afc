"""Commands that several processes share: those that torchrun started, or children of our own."""

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.queues import SimpleQueue
from typing import Any

import torch
import torch.distributed as dist

from multidiff.errors import InputError
from multidiff.sampling.processes import Group, Processes


@contextmanager
def launched() -> Iterator[Processes]:
    """The processes that torchrun started, of which this is one; or this one alone."""
    try:
        count = int(os.environ.get("WORLD_SIZE", "1"))
        rank = int(os.environ["RANK"]) if count > 1 else 0
    except (ValueError, KeyError) as error:
        raise InputError(f"WORLD_SIZE and RANK must be integers, as torchrun sets them: {error}") from error
    if count == 1:
        yield Processes()
        return
    with joined("env://", rank, count) as group:
        yield group


@contextmanager
def joined(meeting: str, rank: int, count: int) -> Iterator[Group]:
    """The group of ``count`` processes that meet at ``meeting``, of which this is number ``rank``."""
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=count)
    try:
        yield Group()
    finally:
        dist.destroy_process_group()


def device_of(processes: Processes) -> torch.device:
    """The GPU of this process, if there is one."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", processes.rank % torch.cuda.device_count())


def shared(work: Callable[..., None], count: int, *arguments: Any) -> None:
    """Call ``work(processes, *arguments)`` in ``count`` processes, of which this is one.

    Raises:
        InputError: raised by ``work`` in any of them.
    """
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        meeting, threads = f"file://{folder}/meeting", torch.get_num_threads()
        try:
            refused = context.SimpleQueue()
        except OSError as error:
            reason = f"several processes need shared memory, /dev/shm: {error.strerror}"
            raise InputError(f"{reason}; leave --processes out") from error
        tasks = [(work, meeting, rank, count, threads, arguments, refused) for rank in range(1, count)]
        children = [context.Process(target=_child, args=task, daemon=True) for task in tasks]
        for child in children:
            child.start()
        try:
            with joined(meeting, 0, count) as group:
                work(group, *arguments)
        except BaseException as error:
            for child in children:
                child.terminate()
            if isinstance(error, RuntimeError) and not refused.empty():  # why the connection to a child broke
                raise InputError(refused.get()) from error
            raise
        finally:
            for child in children:
                child.join()


def _child(
    work: Callable[..., None],
    meeting: str,
    rank: int,
    count: int,
    threads: int,
    arguments: tuple[Any, ...],
    refused: "SimpleQueue[str]",
) -> None:
    torch.set_num_threads(threads)
    with joined(meeting, rank, count) as group:
        try:
            work(group, *arguments)
        except InputError as error:
            refused.put(str(error))
