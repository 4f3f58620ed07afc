"""Whether samples are copies of training data.

Any good sample is near some real one, so distances are compared with those of held-out real samples: the samples of a
model that memorises are nearer to the training data than those are.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from multidiff.evaluation.neighbours import nearest

RARE = 0.01
"""The quantile of held-out distances below which a sample counts as suspicious."""


@dataclass(frozen=True)
class Memorisation:
    """Nearest training neighbours of generated samples, beside those of held-out real samples.

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
        """The probability that a generated sample is nearer to the training data than a held-out one: 0.5 if alike."""
        real = self.held_out.sort().values
        below, up_to = (torch.searchsorted(real, self.distances, right=right) for right in (False, True))
        return 1 - float((below + up_to).double().mean()) / (2 * len(real))

    @property
    def suspicious(self) -> float:
        """The fraction of generated samples nearer than all but 1 % of the held-out ones: 0.01 if alike."""
        return float((self.distances < self.held_out.quantile(RARE)).double().mean())

    def closest(self, count: int) -> list[tuple[int, int]]:
        """The ``count`` closest pairs of a generated and its training sample, by their indices, closest first."""
        order = self.distances.sort(stable=True).indices[:count].tolist()
        return [(i, int(self.neighbours[i])) for i in order]
