"""What shapes are compared by: a small network on points in no order, trained on the reference data alone."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from modalities.shape.cloud import PointCloud
from modalities.shape.modality import ShapeModality
from modalities.shape.transformer import PointFeatures
from multidiff.errors import InputError
from multidiff.evaluation.encoder import LearnedFeatures, Task
from multidiff.evaluation.reference import Reference

POINTS = 512
"""Points of each cloud that the network learns from, other ones each time; it looks at all."""

TURNS = ("0", "90", "180", "270")


class PointNetwork(nn.Module):
    """A perceptron for each point, the mean and the maximum over all points, and a perceptron for the whole.

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
    """The reference's clouds, without normals or colours.

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

    def clouds(self, indices: Sequence[int], random: np.random.Generator | None) -> Tensor:
        """Points ``(B, 3, N)``; if ``random`` is given, `POINTS` of them, in other proportions and blurred a little."""
        points = [self.reference.artifact(i).points for i in indices]
        return stacked(points if random is None else [disturbed(cloud, random) for cloud in points])


class Classes(Clouds):
    """To tell the classes of the data apart."""

    name = "telling the classes apart"
    of_the_data = True

    def __init__(self, reference: Reference):
        super().__init__(reference)
        self.class_names = reference.dataset.label_names
        self.labels = np.asarray(reference.dataset.labels)

    def examples(self, indices: Sequence[int], random: np.random.Generator | None) -> tuple[Tensor, Tensor]:
        return self.clouds(indices, random), torch.from_numpy(self.labels[list(indices)]).long()


class Rotations(Clouds):
    """To tell by how many quarters a shape was tipped over, about the axis z, which takes knowing what is its top."""

    name = "telling by which of four angles a shape was tipped over"
    of_the_data = False
    class_names = TURNS

    def examples(self, indices: Sequence[int], random: np.random.Generator | None) -> tuple[Tensor, Tensor]:
        x = self.clouds(indices, random)
        turns = torch.arange(len(x)) % 4
        quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
        matrices = torch.stack([torch.linalg.matrix_power(quarter, int(k)) for k in turns])
        return matrices @ x, turns


class PointEncoder(LearnedFeatures):
    """A small classifier that learned from the training part of the reference; without classes, from rotations."""

    name = "point_encoder"

    def task(self, reference: Reference) -> Task:
        return Classes(reference) if len(reference.dataset.label_names) > 1 else Rotations(reference)


def stacked(points: Sequence[np.ndarray]) -> Tensor:
    """Clouds of equal size, ``(N, 3)`` each, as ``(B, 3, N)``."""
    return torch.from_numpy(np.stack(points)).mT.contiguous()


def disturbed(points: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Some `POINTS` of ``(N, 3)``, each axis longer or shorter by up to a tenth, each point moved by about 0.01."""
    chosen = points[random.choice(len(points), min(POINTS, len(points)), replace=False)]
    moved = chosen * random.uniform(0.9, 1.1, 3) + random.normal(0, 0.01, chosen.shape)
    return moved.astype(np.float32)
