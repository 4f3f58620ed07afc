"""Rows in blocks of one size, so that sums do not depend on batch size."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

ROWS = 256
"""Rows that are summed at once; another number would change the last digits of every score."""


def blocks(batches: Iterable[Tensor], rows: int = ROWS) -> Iterator[Tensor]:
    """The rows of ``batches``, ``(B, D)`` each, in float64 and in blocks of ``rows``; the last may have fewer."""
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
