"""Features of shapes: a small permutation-invariant network, trained on the reference data alone."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from modalities.shape.cloud import PointCloud
from modalities.shape.modality import ShapeModality
from modalities.shape.transformer import PointFeatures
from multidiff.errors import InputError
from multidiff.evaluation import Classification, LearnedFeatures, Reference, Task, has_classes

POINTS = 512
"""Points of each cloud in a training example, resampled each time; features are of all points."""

TURNS = ("0", "90", "180", "270")


class PointNetwork(nn.Module):
    """An MLP on each point, mean and maximum pooling over the points, and an MLP on the pooled vector.

    Zaheer et al. (2017), Deep Sets, https://arxiv.org/abs/1703.06114; Qi et al. (2017), PointNet,
    https://arxiv.org/abs/1612.00593. Any number of points in any order: ``(B, 3, N)`` to features ``(B, 128)`` and
    logits ``(B, classes)``.
    """

    def __init__(self, classes: int, width: int = 64):
        super().__init__()
        self.points = nn.Sequential(
            PointFeatures(3, width, octaves=3),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, 2 * width),
        )
        self.whole = nn.Sequential(nn.LayerNorm(4 * width), nn.Linear(4 * width, 2 * width), nn.SiLU())
        self.head = nn.Linear(2 * width, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        points = self.points(x)
        features = self.whole(torch.cat([points.mean(dim=1), points.amax(dim=1)], dim=1))
        return features, self.head(features)


class Clouds(Task):
    """A task on the clouds of the reference, without normals or colours.

    Raises:
        InputError: the reference is of another modality.
    """

    preprocessing = "points alone, without normals and colours, in the scale of the samples"

    def __init__(self, reference: Reference):
        if not isinstance(reference.modality, ShapeModality):
            raise InputError(
                f"these features are of shapes, and the data are of the modality {reference.modality.name}"
            )
        self.reference = reference

    def network(self) -> nn.Module:
        return PointNetwork(len(self.class_names))

    def inputs(self, artifacts: Sequence[PointCloud]) -> Tensor:
        return stacked([cloud.points for cloud in artifacts])

    def augmented(self, indices: Sequence[int], random: np.random.Generator | None) -> Tensor:
        """Points of samples, ``(B, 3, N)``; augmented by `disturbed` if ``random`` is given."""
        points = [self.reference.artifact(i).points for i in indices]
        return stacked(points if random is None else [disturbed(cloud, random) for cloud in points])


class Classes(Classification, Clouds):
    """Classification of the data's classes."""


class Rotations(Clouds):
    """Classification of quarter turns about the z axis, which requires recognising the top of a shape."""

    name = "classification of quarter turns about the z axis"
    of_the_data = False
    class_names = TURNS

    def examples(self, indices: Sequence[int], random: np.random.Generator | None) -> tuple[Tensor, Tensor]:
        x = self.augmented(indices, random)
        turns = torch.arange(len(x)) % 4
        quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
        matrices = torch.stack([torch.linalg.matrix_power(quarter, int(k)) for k in turns])
        return matrices @ x, turns


class PointEncoder(LearnedFeatures):
    """A small classifier trained on the training part of the reference; without classes, on rotations."""

    name = "point_encoder"

    def task(self, reference: Reference) -> Task:
        return Classes(reference) if has_classes(reference) else Rotations(reference)


def stacked(points: Sequence[np.ndarray]) -> Tensor:
    """Clouds of equal size, ``(N, 3)`` each, as ``(B, 3, N)``."""
    return torch.from_numpy(np.stack(points)).mT.contiguous()


def disturbed(points: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """`POINTS` random points of ``(N, 3)``, each axis scaled by 0.9 to 1.1, each point moved by about 0.01."""
    chosen = points[random.choice(len(points), min(POINTS, len(points)), replace=False)]
    moved = chosen * random.uniform(0.9, 1.1, 3) + random.normal(0, 0.01, chosen.shape)
    return moved.astype(np.float32)
