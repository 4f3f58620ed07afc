"""Shapes: oriented points as data tensors ``(C, N)``, and the meshes reconstructed from them."""

from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import trimesh
from PIL import Image
from torch import Tensor

from modalities.shape.cloud import (
    ORIENTED,
    Normalisation,
    NormalisationKind,
    PointCloud,
    check_channels,
    check_normalisation,
)
from modalities.shape.distance_data import CHANNELS as DISTANCE_CHANNELS
from modalities.shape.fidelity import fidelity
from modalities.shape.files import POINT_SUFFIXES, READ_SUFFIXES, read_geometry, sample_surface, write_cloud
from modalities.shape.mesh_surface import MeshSurface, decoded_mesh, mesh_of
from modalities.shape.meshes import UNITS, WRITTEN, Export, write_mesh
from modalities.shape.metadata import read_metadata
from modalities.shape.normals import oriented
from modalities.shape.preparation import ShapePreparation
from modalities.shape.preview import contact_sheet, turntable
from modalities.shape.surface import Reconstruction
from modalities.shape.volume import check_resolution
from modalities.shape.welding import welded
from multidiff.errors import InputError
from multidiff.modality import Exporter, File, Modality, Preparation, expected, path_or_open

COMPARED_POINTS = 2048
"""The most points of a shape that is compared with those in a folder, as in the papers."""

READ_POINTS = 8192
"""Points sampled from a mesh that is read, or that is generated as a volume."""

VOLUME_AXES = 4
"""Axes of a volume ``(1, R, R, R)``."""

REACH = 2.0
"""The largest distance from the origin in a normalised shape or a part of one; a corner of the box is at 1.73."""


class ShapeModality(Modality[PointCloud]):
    """Point clouds of the size that ``normalisation`` gives them; y points up.

    Args:
        channels: 3 (points), 6 (points and normals) or 9 (points, normals and colours).
        normalisation: how each shape is brought to one size; see `Normalisation.of`.

    Raises:
        InputError: another number of channels, or another normalisation.
    """

    name: ClassVar[str] = "shape"
    suffixes: ClassVar[tuple[str, ...]] = tuple(dict.fromkeys((*POINT_SUFFIXES, *WRITTEN, *READ_SUFFIXES)))
    preparation: ClassVar[type[Preparation]] = ShapePreparation
    features: ClassVar[str | None] = "point_encoder"
    set_metric: ClassVar[str | None] = "point_clouds"
    turns: ClassVar[bool] = True
    viewer: ClassVar[str] = "solid"
    export_choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"units": tuple(UNITS), "up": ("y", "z"), "size": ()}

    def __init__(self, channels: int, normalisation: NormalisationKind = "bounding_box"):
        check_channels(channels)
        check_normalisation(normalisation)
        self.channels, self.normalisation = channels, normalisation

    @property
    def written(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*POINT_SUFFIXES, *WRITTEN)))

    @property
    def exported(self) -> tuple[str, ...]:
        return WRITTEN

    def read(self, file: File | str) -> PointCloud:
        """The points in a file, or points sampled from its mesh, in the scale of the file.

        A mesh that encloses a volume is kept with its points, and so exported as it is.
        """
        shape = read_geometry(path_or_open(file))
        if isinstance(shape, PointCloud):
            return shape
        cloud = sample_surface(shape, READ_POINTS, np.random.default_rng(0), colours=self.channels == 9)
        mesh = welded(shape)
        return MeshSurface(cloud.points, cloud.normals, cloud.colours, mesh=mesh) if mesh.is_volume else cloud

    def write(self, artifact: PointCloud, path: Path | str, metadata: Mapping[str, Any]) -> None:
        """Write points as PLY or NPZ; in any other format the mesh reconstructed from them.

        A known mesh is written in every format but NPZ.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix in POINT_SUFFIXES and not (isinstance(artifact, MeshSurface) and suffix in WRITTEN):
            write_cloud(artifact, path, metadata)
        else:
            write_mesh(mesh_of(artifact, Reconstruction()), path, metadata)

    def metadata(self, path: Path) -> dict[str, Any]:
        return read_metadata(path)

    def exporter(self, suffix: str, settings: Mapping[str, Any]) -> Exporter[PointCloud]:
        export = Export.of(settings)
        export.check(suffix)
        return export.write

    def to_data(self, artifact: PointCloud) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(artifact.rows(self.channels).T))

    def to_artifact(self, data: Tensor) -> PointCloud:
        """The points in ``(C, N)``; the mesh in a volume of signed distances, ``(1, R, R, R)``.

        Of the training data of codecs, which hold query points too, it is the points on the surface.
        """
        if _is_volume(tuple(data.shape)):
            return MeshSurface.of(_mesh_in(data), READ_POINTS)
        if len(data) == DISTANCE_CHANNELS:
            data = data[:6, data[6] == 0]
        return PointCloud.from_rows(data.detach().cpu().double().numpy().T)

    def fitted(self, artifact: PointCloud, shape: tuple[int, ...]) -> Tensor:
        """As many of the points as ``shape`` has, in random order; those of a smaller cloud are repeated.

        For codecs that decode to volumes, as many as are read from a mesh. Normals that are missing are estimated.

        Raises:
            InputError: the cloud is not in the scale that ``normalisation`` gives.
        """
        expected(PointCloud, artifact)
        reach = float(np.linalg.norm(artifact.points, axis=1).max())
        if self.normalisation != "none" and reach > REACH:
            raise InputError(
                f"the given shape extends {reach:.3g} from the origin: scale it like the model's samples, which are "
                f"centred at the origin and extend 1 ({self.normalisation})"
            )
        order = np.random.default_rng(0).permutation(len(artifact))
        cloud = oriented(artifact) if self.channels > 3 else artifact
        return self.to_data(cloud[np.resize(order, READ_POINTS if _is_volume(shape) else shape[-1])])

    def resized(self, shape: tuple[int, ...], **settings: Any) -> tuple[int, ...]:
        """The shape of data of another number of ``points``, or of volumes of another ``resolution``."""
        (known,) = self.sizes(shape)
        unknown = [name for name in settings if name != known]
        if unknown:
            raise InputError(f"{', '.join(unknown)}: not a field of this model, and shapes have one setting: {known}")
        if known == "resolution":
            check_resolution(settings.get(known, shape[-1]))
            return (1, *3 * [settings.get(known, shape[-1])])
        points = settings.get("points", shape[-1])
        if type(points) is not int or points < 1:
            raise InputError(f"points is the number of points of a shape, at least 1, not {points!r}")
        return (self.channels, points)

    def sizes(self, shape: tuple[int, ...]) -> dict[str, int]:
        return {"resolution" if _is_volume(shape) else "points": shape[-1]}

    def mask(self, shape: tuple[int, ...], *region: Any) -> Tensor:
        """The last points; the region is their fraction of all points, between 0 and 1.

        Raises:
            InputError: there is no such region, or the codec decodes to volumes.
        """
        if _is_volume(shape):
            raise InputError(
                "a latent set describes the whole shape, so no part can be masked: give strength, not mask"
            )
        if len(region) != 1 or not isinstance(region[0], Real):
            raise InputError(f"the part to regenerate is the fraction of the points: inpaint(cloud, 0.5), got {region}")
        (fraction,) = region
        if not 0 < fraction < 1:
            raise InputError(f"the fraction of a shape to regenerate is between 0 and 1, got {fraction}")
        kept = round((1 - fraction) * shape[-1])
        if not 0 < kept < shape[-1]:
            raise InputError(
                f"a fraction of {fraction} of {shape[-1]} points leaves none to {'regenerate' if kept else 'keep'}"
            )
        return torch.arange(shape[-1]).expand(shape) >= kept

    def region(self, text: str) -> tuple[float]:
        """The fraction of all points that is regenerated, between 0 and 1."""
        try:
            return (float(text),)
        except ValueError as error:
            raise InputError(f"the fraction of a shape to regenerate is a number such as 0.5, not {text!r}") from error

    def extension(self, artifact: PointCloud, amount: float) -> tuple[Tensor, int]:
        """A shape has no end."""
        raise InputError("a shape has no end that could be extended: give strength, or mask for a model of points")

    def comparable(self, artifact: PointCloud, shape: tuple[int, ...], *, foreign: bool) -> PointCloud:
        """A random subset of as many points as the data have; normalised like the data if ``foreign``.

        Raises:
            InputError: the cloud has fewer points, or lacks normals or colours that the channels need.
        """
        artifact.rows(self.channels)
        count = shape[-1]
        if len(artifact) < count:
            raise InputError(
                f"has {len(artifact)} points and the data {count}: ask for fewer by --data 'NAME points=N'"
            )
        chosen = artifact[np.sort(np.random.default_rng(0).permutation(len(artifact))[:count])]
        return Normalisation.of(chosen.points, self.normalisation)(chosen) if foreign else chosen

    def reconstructed(self, shape: Sequence[int], decoded: Sequence[int]) -> bool:
        return super().reconstructed(shape, decoded) or (_is_volume(decoded) and shape[0] >= ORIENTED)

    def fidelity(self, original: Tensor, decoded: Tensor) -> dict[str, float]:
        """F-score at 1 %, Chamfer distance, normal consistency and watertightness of the mesh in a volume.

        The original is its points and normals, ``(6 or more, N)``. Of other decoded data there is no measure.
        """
        if not _is_volume(tuple(decoded.shape)):
            return {}
        return fidelity(self.to_artifact(original), _mesh_in(decoded))

    def settings_for(self, shape: Sequence[int]) -> dict[str, Any]:
        return {"points": COMPARED_POINTS if _is_volume(shape) else min(shape[-1], COMPARED_POINTS)}

    def preview(self, artifacts: Sequence[PointCloud]) -> Image.Image:
        return contact_sheet(artifacts)

    def describe(self, artifact: PointCloud) -> str:
        extras = [name for name in ("normals", "colours") if getattr(artifact, name) is not None]
        return ", ".join([f"{len(artifact)} points", *extras])

    def turntable(self, artifacts: Sequence[PointCloud]) -> list[Image.Image]:
        return turntable(artifacts)


def _mesh_in(volume: Tensor) -> trimesh.Trimesh:
    """The mesh in learned signed distances, ``(1, R, R, R)``."""
    return decoded_mesh(volume[0].detach().cpu().numpy())


def _is_volume(shape: Sequence[int]) -> bool:
    """Whether data of ``shape`` are signed distances on a grid, ``(1, R, R, R)``, and not points."""
    return len(shape) == VOLUME_AXES
