"""Shapes: oriented points as tensors ``(C, N)``, and the meshes that they become."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from modalities.shape.cloud import Normalisation, NormalisationKind, PointCloud, Scaling, check_channels
from modalities.shape.files import MESH_SUFFIXES, POINT_SUFFIXES, read_geometry, sample_surface, write_cloud
from modalities.shape.meshes import WRITTEN, Export, write_mesh
from modalities.shape.metrics import ShapeMeasure
from modalities.shape.normals import oriented
from modalities.shape.preview import contact_sheet, turntable
from modalities.shape.surface import Reconstruction
from multidiff.errors import InputError
from multidiff.modality import Exporter, Modality

COMPARED_POINTS = 2048
"""Points of a shape at most, where it is compared with those in a folder, as in the papers."""

READ_POINTS = 8192
"""Points by which a mesh that is read is represented."""

REACH = 2.0
"""How far from the origin a normalised shape, or a part of one, may reach; the corners of the box are at 1.73."""


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
    turns: ClassVar[bool] = True
    features: ClassVar[str | None] = "point_encoder"
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

    @property
    def written(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*POINT_SUFFIXES, *WRITTEN)))

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

    def exporter(self, suffix: str, settings: Mapping[str, Any]) -> Exporter[PointCloud]:
        export = Export(**settings)
        export.check(suffix)
        return export.write

    def to_tensor(self, artifact: PointCloud) -> Tensor:
        return self.scaling.tensor(artifact.rows(self.channels))

    def to_artifact(self, x: Tensor) -> PointCloud:
        return PointCloud.from_rows(self.scaling.rows(x))

    def sized(self, artifact: PointCloud, shape: tuple[int, ...]) -> Tensor:
        """As many of its points as ``shape`` has, in random order; those of a smaller cloud come again.

        Normals that are missing are estimated.

        Raises:
            InputError: the cloud is not in the scale that ``normalisation`` names.
        """
        reach = float(np.linalg.norm(artifact.points, axis=1).max())
        if self.normalisation != "none" and reach > REACH:
            raise InputError(
                f"the shape given reaches {reach:.3g} from the origin: give it in the scale of the model's samples, "
                f"where a whole shape lies around the origin and reaches 1 ({self.normalisation})"
            )
        order = np.random.default_rng(0).permutation(len(artifact))
        cloud = oriented(artifact) if self.channels > 3 else artifact
        return self.to_tensor(cloud[np.resize(order, shape[-1])])

    def resized(self, shape: tuple[int, ...], amount: int) -> tuple[int, ...]:
        """``amount`` points."""
        if amount < 1:
            raise InputError(f"a shape has at least 1 point, not {amount}")
        return (self.channels, amount)

    def mask(self, shape: tuple[int, ...], *region: Any) -> Tensor:
        """The last points, ``region`` being their part of all, between 0 and 1."""
        (part,) = region
        if not 0 < part < 1:
            raise InputError(f"the part of a shape that is made anew lies between 0 and 1, got {part}")
        kept = round((1 - part) * shape[-1])
        if not 0 < kept < shape[-1]:
            raise InputError(f"a part of {part} of {shape[-1]} points leaves none to {'go by' if not kept else 'make'}")
        return torch.arange(shape[-1]).expand(shape) >= kept

    def region(self, text: str) -> tuple[float]:
        """The part of all points, between 0 and 1."""
        try:
            return (float(text),)
        except ValueError as error:
            raise InputError(f"the part of a shape that is made anew is a number such as 0.5, not {text!r}") from error

    def comparable(self, artifact: PointCloud, shape: tuple[int, ...], *, foreign: bool) -> PointCloud:
        """As many of its points as the data have, chosen at random; what is foreign, in the size of the data.

        Raises:
            InputError: there are fewer, or what the channels need is missing.
        """
        artifact.rows(self.channels)
        count = shape[-1]
        if len(artifact) < count:
            raise InputError(
                f"has {len(artifact)} points and the data {count}: ask for fewer by --data 'NAME points=N'"
            )
        chosen = artifact[np.sort(np.random.default_rng(0).permutation(len(artifact))[:count])]
        if not foreign:
            return chosen
        size = Normalisation.of(chosen.points, self.normalisation)
        return PointCloud(size.apply(chosen.points), chosen.normals, chosen.colours)

    def folder(self, root: Path, shape: Sequence[int]) -> dict[str, Any]:
        """Meshes, y up."""
        points = min(shape[-1], COMPARED_POINTS)
        return {"_target_": "modalities.shape.data.MeshFolder", "root": str(root), "points": points}

    def set_measure(self) -> ShapeMeasure:
        return ShapeMeasure(self.normalisation)

    def preview(self, artifacts: Sequence[PointCloud]) -> Image.Image:
        return contact_sheet(artifacts)

    def turntable(self, artifacts: Sequence[PointCloud]) -> list[Image.Image]:
        return turntable(artifacts)
