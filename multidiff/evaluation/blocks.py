"""Rows in blocks of one size, so that no sum depends on the batches in which the rows came."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

ROWS = 256
"""Rows that are reduced at once. Another number would change the last digits of every score."""


def blocks(batches: Iterable[Tensor], rows: int = ROWS) -> Iterator[Tensor]:
    """The rows of ``batches``, ``(B, D)`` each, in float64 and in blocks of ``rows``; the last may be less."""
    waiting: list[Tensor] = []
    count = 0
    for batch in batches:
        waiting.append(batch.double())
        count += len(batch)
        while count >= rows:
            held = torch.cat(waiting)
            yield held[:rows].clone()
            waiting, count = [held[rows:]], count - rows
    if count:
        yield torch.cat(waiting)
