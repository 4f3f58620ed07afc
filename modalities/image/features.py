"""Features of images that need no download: a small network, trained on the reference data."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from PIL import Image
from torch import Tensor, nn

from modalities.image.modality import ImageModality
from multidiff.errors import InputError
from multidiff.evaluation import Classification, LearnedFeatures, Reference, Task, has_classes
from multidiff.modality import Modality
from multidiff.nn.norm import group_norm

LARGEST = 64
"""Pixels of the square that larger images are shrunk to."""

TURNS = ("0", "90", "180", "270")


class SmallNetwork(nn.Module):
    """A convolutional classifier of squares: three sizes, two layers each, and global average pooling.

    ``(B, channels, side, side)`` to features ``(B, 128)`` and logits ``(B, classes)``.
    """

    def __init__(self, channels: int, classes: int, side: int):
        super().__init__()
        layers: list[nn.Module] = []
        before = channels
        for width, stride in ((32, 2 if side > 32 else 1), (64, 2), (128, 2)):
            for step in (stride, 1):
                layers += [nn.Conv2d(before, width, 3, stride=step, padding=1), group_norm(width), nn.SiLU()]
                before = width
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(before, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = reduce(self.layers(x), "b c h w -> b c", "mean")
        return features, self.head(features)


def require_images(reference: Reference) -> None:
    """Refuse data of another modality.

    Raises:
        InputError: the data are not images.
    """
    if not isinstance(reference.modality, ImageModality):
        raise InputError(f"these features are of images, and the data are of the modality {reference.modality.name}")


class Squares(Task):
    """The reference's images, as squares of at most `LARGEST` pixels."""

    def __init__(self, reference: Reference):
        require_images(reference)
        self.reference = reference
        self.channels, height, width = reference.dataset.shape
        self.side = min(LARGEST, max(height, width))
        self.preprocessing = (
            f"images of another size: antialiased resize to a square of {self.side} pixels; values to [-1, 1]"
        )

    def network(self) -> nn.Module:
        return SmallNetwork(self.channels, len(self.class_names), self.side)

    def inputs(self, artifacts: Sequence[Image.Image]) -> Tensor:
        return squares(artifacts, self.reference.modality, self.side)

    def augmented(self, indices: Sequence[int], random: np.random.Generator | None) -> Tensor:
        """Samples ``(B, C, S, S)``, shifted by up to an eighth of their side if ``random`` is given."""
        x = self.inputs([self.reference.artifact(i) for i in indices])
        return x if random is None else shifted(x, random)


class Classes(Classification, Squares):
    """Classification of the data's classes."""


class Rotations(Squares):
    """Prediction of the rotation of an image, by multiples of 90 degrees.

    Gidaris et al. (2018), https://arxiv.org/abs/1803.07728.
    """

    name = "prediction of the rotation of an image"
    class_names = TURNS
    of_the_data = False

    def examples(self, indices: Sequence[int], random: np.random.Generator | None) -> tuple[Tensor, Tensor]:
        x = self.augmented(indices, random)
        turns = torch.arange(len(x)) % 4
        return torch.stack([torch.rot90(image, int(k), (1, 2)) for image, k in zip(x, turns, strict=True)]), turns


class Encoder(LearnedFeatures):
    """A small classifier trained on the training part of the reference; without classes, on rotations."""

    name = "encoder"

    def task(self, reference: Reference) -> Task:
        return Classes(reference) if has_classes(reference) else Rotations(reference)


def squares(images: Sequence[Image.Image], modality: Modality[Any], side: int) -> Tensor:
    """``(B, C, side, side)`` in [-1, 1]; images of another size are resized (Lanczos, antialiased)."""
    fitting = (
        image if image.size == (side, side) else image.resize((side, side), Image.Resampling.LANCZOS)
        for image in images
    )
    return torch.stack([modality.to_data(image) for image in fitting])


def shifted(x: Tensor, random: np.random.Generator) -> Tensor:
    """``(B, C, S, S)``, each shifted by up to an eighth of its side, its edges repeated."""
    reach = max(1, x.shape[-1] // 8)
    padded = F.pad(x, (reach, reach, reach, reach), mode="replicate")
    offsets = random.integers(2 * reach + 1, size=(len(x), 2)).tolist()
    side = x.shape[-1]
    return torch.stack([p[:, i : i + side, j : j + side] for p, (i, j) in zip(padded, offsets, strict=True)])


def rgb_levels(images: Sequence[Image.Image], side: int | None = None) -> Tensor:
    """``(B, 3, H, W)`` in uint8, resized to ``side`` (bicubic, antialiased) where one is given."""
    converted = (image.convert("RGB") for image in images)
    fitting = (image if side is None else image.resize((side, side), Image.Resampling.BICUBIC) for image in converted)
    pixels = np.stack([np.asarray(image) for image in fitting])
    return rearrange(torch.from_numpy(pixels), "b h w c -> b c h w").contiguous()
