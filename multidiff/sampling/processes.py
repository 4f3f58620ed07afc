"""Work shared between processes, gathered in the order that one process would have done it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")


class Processes:
    """This process alone."""

    rank: int = 0
    count: int = 1

    def gather(self, mine: dict[int, Any]) -> dict[int, Any]:
        """The results of all processes by their numbers, on process 0; nothing elsewhere."""
        return mine

    @contextmanager
    def working(self) -> Iterator[None]:
        """While all processes work, each takes its part of the threads; they would wait for one another otherwise."""
        threads = torch.get_num_threads()
        torch.set_num_threads(max(1, threads // self.count))
        try:
            yield
        finally:
            torch.set_num_threads(threads)

    def wait(self) -> None:
        """Until all processes are here."""

    def share(self, work: Sequence[T]) -> Sequence[T]:
        """Those pieces of ``work`` that this process does."""
        return work[self.rank :: self.count]


class Group(Processes):
    """One of several processes of torch.distributed's default group, which must support gathering objects: gloo."""

    def __init__(self) -> None:
        self.rank, self.count = dist.get_rank(), dist.get_world_size()

    def wait(self) -> None:
        dist.barrier()

    def gather(self, mine: dict[int, Any]) -> dict[int, Any]:
        everyone: list[Any] | None = [None] * self.count if self.rank == 0 else None
        dist.gather_object(mine, everyone)
        return {number: result for results in everyone or [] for number, result in results.items()}
