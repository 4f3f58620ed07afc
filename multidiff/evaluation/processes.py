"""Work shared between processes, gathered in the order that one process would have done it."""

from collections.abc import Sequence
from typing import Any

import torch.distributed as dist


class Processes:
    """This process alone."""

    rank: int = 0
    count: int = 1

    def gather(self, mine: dict[int, Any]) -> dict[int, Any]:
        """The results of all processes by their numbers, on process 0; nothing elsewhere."""
        return mine

    def share(self, numbers: Sequence[int]) -> Sequence[int]:
        """Those of ``numbers`` that this process does."""
        return numbers[self.rank :: self.count]


class Group(Processes):
    """One of several processes of torch.distributed's default group, which must support gathering objects: gloo."""

    def __init__(self) -> None:
        self.rank, self.count = dist.get_rank(), dist.get_world_size()

    def gather(self, mine: dict[int, Any]) -> dict[int, Any]:
        everyone: list[Any] | None = [None] * self.count if self.rank == 0 else None
        dist.gather_object(mine, everyone)
        return {number: result for results in everyone or [] for number, result in results.items()}
