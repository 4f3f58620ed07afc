"""Commands that several processes share: those that torchrun started, or children of our own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from multidiff.sampling.processes import Group, Processes


@contextmanager
def launched() -> Iterator[Processes]:
    """The processes that torchrun started, of which this is one; or this one alone."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    with joined("env://", int(os.environ["RANK"]), count) as group:
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
