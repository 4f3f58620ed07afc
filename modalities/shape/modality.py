"""Shapes: oriented points as tensors ``(C, N)``, and the meshes that they become."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from torch import Tensor

from modalities.shape.cloud import NormalisationKind, PointCloud, Scaling, check_channels
from modalities.shape.files import MESH_SUFFIXES, POINT_SUFFIXES, read_geometry, sample_surface, write_cloud
from modalities.shape.meshes import WRITTEN, Export, write_mesh
from modalities.shape.preview import contact_sheet, turntable
from modalities.shape.surface import Reconstruction
from multidiff.modality import Modality

READ_POINTS = 8192
"""Points by which a mesh that is read is represented."""


class ShapeModality(Modality[PointCloud]):
    """Point clouds in the common size that ``normalisation`` names; y points up.

    Args:
        channels: 3 (points), 6 (and normals) or 9 (and colours).
        normalisation: how the data come to one size; see `Normalisation.of`.
        mean: of each channel; None until the data tell it.
        deviation: of each channel; None until the data tell it.

    Raises:
        InputError: another number of channels, or statistics of another number.
    """

    name: ClassVar[str] = "shape"
    suffixes: ClassVar[tuple[str, ...]] = tuple(dict.fromkeys((*POINT_SUFFIXES, *WRITTEN, *MESH_SUFFIXES)))

    def __init__(
        self,
        channels: int,
        normalisation: NormalisationKind = "bounding_box",
        mean: Sequence[float] | None = None,
        deviation: Sequence[float] | None = None,
    ):
        check_channels(channels)
        self.channels, self.normalisation = channels, normalisation
        self.known = mean is not None and deviation is not None
        self.scaling = Scaling(mean or [0.0] * channels, deviation or [1.0] * channels)

    @property
    def preparation(self) -> dict[str, Any]:
        """What of it decides how data are prepared; JSON."""
        return {"channels": self.channels, "normalisation": self.normalisation}

    def scaled_to(self, rows: np.ndarray) -> dict[str, list[float]]:
        """The settings ``mean`` and ``deviation`` for data ``(N, channels)``; its own, if it has been given some."""
        scaling = self.scaling if self.known else Scaling.of(rows)
        return {"mean": list(scaling.mean), "deviation": list(scaling.deviation)}

    def with_settings(self, settings: Mapping[str, Any]) -> "ShapeModality":
        """The same with other statistics."""
        return ShapeModality(self.channels, self.normalisation, **settings)

    def read(self, path: Path) -> PointCloud:
        """The points of a file, or points on the surface of its mesh, in the scale of the file."""
        shape = read_geometry(path)
        if isinstance(shape, PointCloud):
            return shape
        return sample_surface(shape, READ_POINTS, np.random.default_rng(0), colours=self.channels == 9)

    def write(self, artifact: PointCloud, path: Path, metadata: Mapping[str, Any]) -> None:
        """Points as PLY or NPZ; in any other format the mesh through them."""
        if path.suffix.lower() in POINT_SUFFIXES:
            write_cloud(artifact, path, metadata)
        else:
            write_mesh(Reconstruction().mesh(artifact), path, metadata)

    def export(
        self, artifact: PointCloud, path: Path, metadata: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> dict[str, Any]:
        return Export(**settings).write(artifact, path, metadata)

    def to_tensor(self, artifact: PointCloud) -> Tensor:
        return self.scaling.tensor(artifact.rows(self.channels))

    def to_artifact(self, x: Tensor) -> PointCloud:
        return PointCloud.from_rows(self.scaling.rows(x))

    def preview(self, artifacts: Sequence[PointCloud]) -> Image.Image:
        return contact_sheet(artifacts)

    def turntable(self, artifacts: Sequence[PointCloud]) -> list[Image.Image]:
        return turntable(artifacts)
