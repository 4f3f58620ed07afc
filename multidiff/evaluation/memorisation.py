"""Whether samples are copies of what the model was trained on.

Nearness alone proves nothing, since any good sample is near some real one. Real samples that the model never saw say
how near is near: a model that memorises is nearer to its training data than they are.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from multidiff.evaluation.neighbours import nearest

RARE = 0.01
"""The part of held-out samples that lie nearer to the training data than what counts as suspicious."""


@dataclass(frozen=True)
class Memorisation:
    """Nearest training neighbours of generated samples, beside those of real samples that the model never saw.

    Attributes:
        distances: of each generated sample to its nearest training sample, ``(N,)``.
        neighbours: which training sample that is, ``(N,)``.
        held_out: distances of the held-out samples, ``(M,)``.
    """

    distances: Tensor
    neighbours: Tensor
    held_out: Tensor

    @classmethod
    def of(cls, generated: Tensor, training: Tensor, held_out: Tensor) -> "Memorisation":
        """From features, ``(N, D)``, ``(T, D)`` and ``(M, D)``."""
        distances, neighbours = nearest(generated, training)
        return cls(distances, neighbours, nearest(held_out, training)[0])

    @property
    def nearer(self) -> float:
        """The chance that a generated sample is nearer to the training data than a held-out one: 0.5 if alike."""
        real = self.held_out.sort().values
        below, up_to = (torch.searchsorted(real, self.distances, right=right) for right in (False, True))
        return 1 - float((below + up_to).double().mean()) / (2 * len(real))

    @property
    def suspicious(self) -> float:
        """The part of the generated samples nearer than all but 1 % of the held-out ones: 0.01 if alike."""
        return float((self.distances < self.held_out.quantile(RARE)).double().mean())

    def closest(self, count: int) -> list[tuple[int, int]]:
        """The ``count`` closest pairs of a generated and its training sample, by their indices, closest first."""
        order = self.distances.sort(stable=True).indices[:count].tolist()
        return [(i, int(self.neighbours[i])) for i in order]
