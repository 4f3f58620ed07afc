"""Files of shapes as training samples: many points of each are kept, of which every sample takes others."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import trimesh
from torch import Tensor

from modalities.shape.cloud import Normalisation, PointCloud, to_up
from modalities.shape.files import DROPPED, READ_SUFFIXES, read_geometry, sample_surface
from modalities.shape.winding import DOUBLED, TURNED
from multidiff.errors import InputError, first_of
from multidiff.modality import File, Preparation, name_of

if TYPE_CHECKING:
    from modalities.shape.modality import ShapeModality

VERSION = 2
"""Changes when the same file is prepared otherwise than before, so that a cache of before is not used."""

TEXTURES = 1
"""Changes when textures are read otherwise than before."""

COLOURED = 9
"""Channels of points with colours."""

NAMED = 3
"""Files that a remark names."""

LARGEST_RATIO = 100.0
"""Ratio of the largest to the smallest size in a folder above which a remark is made."""


class Noted(NamedTuple):
    """What `ShapePreparation.remarks` needs of a file.

    Attributes:
        size: longest side before normalisation.
        name: of the file.
        dropped: number of degenerate faces.
        turned: whether it was inside out.
        doubled: whether it has faces in opposite pairs.
    """

    size: float
    name: str
    dropped: int = 0
    turned: bool = False
    doubled: bool = False


class ShapePreparation(Preparation):
    """Samples the surface of each mesh uniformly by area, turns it upright and normalises it on its own.

    Scenes are flattened. A mesh without colours is grey. Of a file of points, a random subset is kept, or all points if
    they are fewer than ``stored``.

    Args:
        modality: of the shapes.
        points: N of the samples.
        stored: the most points kept of each shape.
        up: the axis of the files that points up, "y" or "z".

    Raises:
        InputError: a setting that cannot be used.
    """

    suffixes: tuple[str, ...] = READ_SUFFIXES
    companions = (".mtl", ".bin", ".png", ".jpg", ".jpeg")

    def __init__(self, modality: "ShapeModality", points: int, stored: int = 8192, up: str = "y"):
        if not 1 <= points <= stored:
            raise InputError(
                f"data.points is from 1 to data.stored={stored}, the points stored per shape, not {points}"
            )
        to_up(up)
        self.channels, self.normalisation = modality.channels, modality.normalisation
        self.points, self.stored, self.up = points, stored, up
        self.shape = (self.channels, points)
        self.settings: dict[str, Any] = {
            "kind": "shape",
            "version": VERSION,
            "channels": self.channels,
            "normalisation": self.normalisation,
            "points": points,  # a file with fewer is refused
            "stored": stored,
            "up": up,
        }
        if self.channels == COLOURED:
            self.settings["textures"] = TEXTURES

    def prepare(self, file: File) -> np.ndarray:
        """Points, normals and colours in float32, ``(up to stored, channels)``; the same for the same geometry."""
        shape = read_geometry(file, recentre=self.normalisation != "none")
        try:
            rows = self.rows(shape)
        except InputError as error:
            raise InputError(f"{name_of(file)}: {error}") from error
        facts = () if isinstance(shape, PointCloud) else (shape.metadata[name] for name in (DROPPED, TURNED, DOUBLED))
        extent = np.ptp(shape.points if isinstance(shape, PointCloud) else shape.bounds, axis=0)
        self.noted.append(Noted(float(extent.max()), Path(name_of(file)).name, *facts))
        return rows

    def rows(self, shape: trimesh.Trimesh | PointCloud) -> np.ndarray:
        """What `prepare` makes of a mesh or of points."""
        cloud = self._sampled(shape).upright(self.up)
        return Normalisation.of(cloud.points, self.normalisation)(cloud).rows(self.channels)

    def sample(self, prepared: np.ndarray, random: np.random.Generator) -> Tensor:
        """``(channels, points)``."""
        rows = prepared[random.choice(len(prepared), self.points, replace=False)]
        return torch.from_numpy(np.ascontiguousarray(rows.T))

    def remarks(self) -> Iterator[str]:
        if not self.noted:
            return
        low, high = min(self.noted), max(self.noted)
        if high.size > LARGEST_RATIO * low.size and self.normalisation != "none":
            yield (
                f"longest sides range from {low.size:.3g} ({low.name}) to {high.size:.3g} ({high.name}); each shape is "
                f"normalised to one size ({self.normalisation})"
            )
        dropped = [noted.dropped for noted in self.noted if noted.dropped]
        if dropped:
            yield f"{sum(dropped)} degenerate faces were dropped, in {len(dropped)} files"
        if turned := [noted.name for noted in self.noted if noted.turned]:
            yield f"closed meshes that were inside out were turned outwards: {first_of(turned, NAMED)}"
        if doubled := [noted.name for noted in self.noted if noted.doubled]:
            yield f"meshes with pairs of opposite faces, whose normals point both ways: {first_of(doubled, NAMED)}"

    def _sampled(self, shape: trimesh.Trimesh | PointCloud) -> PointCloud:
        if not isinstance(shape, PointCloud):
            return sample_surface(shape, self.stored, generator_of(shape.vertices), colours=self.channels == COLOURED)
        if len(shape) < self.points:
            raise InputError(f"has {len(shape)} points, fewer than data.points={self.points}, which a sample needs")
        kept = min(len(shape), self.stored)
        return shape[generator_of(shape.points).choice(len(shape), kept, replace=False)]


def generator_of(positions: np.ndarray) -> np.random.Generator:
    """Random numbers that depend on the positions alone, so that different shapes are sampled independently."""
    return np.random.default_rng((zlib.crc32(np.asarray(positions, dtype=np.float64).tobytes()),))
