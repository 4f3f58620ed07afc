"""Training data of shape codecs: points of the surface with normals, and query points with signed distances.

A sample is ``(7, points + queries)``: first the points, with their normals and the distance 0, then the queries, with
normals of zeros. Distances are in the scale of the normalised shape, negative inside.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
import trimesh
from torch import Tensor

from modalities.shape.cloud import Normalisation, PointCloud, to_up
from modalities.shape.distances import signed_distances, united, visible_surface
from modalities.shape.files import MESH_SUFFIXES
from modalities.shape.preparation import ShapePreparation, generator_of
from modalities.shape.volume import REACH
from multidiff.data.folder import Folder
from multidiff.errors import InputError

if TYPE_CHECKING:
    from modalities.shape.modality import ShapeModality

VERSION = 2
"""Changes when the same file is prepared otherwise than before, so that a cache of before is not used."""

CHANNELS = 7
"""Points, normals and signed distance."""

OFFSETS = (0.01, 0.05)
"""Standard deviations of the offsets from the surface, of three eighths of the queries each; the others are uniform in
the cube that volumes fill."""


class DistancePreparation(ShapePreparation):
    """Measures signed distances to each mesh once; samples take some of its points and queries.

    Closed bodies are united. A mesh of which no inside can be decided is left out by name, see `visible_surface`.

    Args:
        modality: of the shapes, of 6 channels or more.
        points: of the surface in a sample.
        queries: in a sample.
        stored: points, and as many queries, kept of each shape.
        up: the axis of the files that points up, "y" or "z".

    Raises:
        InputError: a setting that cannot be used.
    """

    suffixes = MESH_SUFFIXES

    def __init__(self, modality: "ShapeModality", points: int, queries: int, stored: int = 8192, up: str = "y"):
        super().__init__(modality, points, stored, up)
        if modality.channels < 6 or modality.normalisation == "none":
            raise InputError(
                "signed distances need shapes with normals, normalised in size: set modality.channels=6 and "
                f"modality.normalisation=bounding_box, not {modality.channels} and {modality.normalisation}"
            )
        if not 1 <= queries <= stored:
            raise InputError(f"data.queries is from 1 to data.stored={stored}, those stored per shape, not {queries}")
        self.queries = queries
        self.shape = (CHANNELS, points + queries)
        own = {"kind": "distances", "version": VERSION, "normalisation": self.normalisation, "stored": stored, "up": up}
        self.settings = own

    def rows(self, shape: trimesh.Trimesh | PointCloud) -> np.ndarray:
        """``(2 stored, 7)``, points first."""
        if isinstance(shape, PointCloud):
            raise InputError("holds points without faces, and signed distances are those to a mesh")
        random = generator_of(shape.vertices)
        mesh = normalised(united(shape), self.normalisation, self.up)
        return measured(mesh, visible_surface(mesh, self.stored, random), random)

    def sample(self, prepared: np.ndarray, random: np.random.Generator) -> Tensor:
        """``(7, points + queries)``."""
        return subsampled(prepared, self.points, self.queries, random)


class DistanceFolder(Folder):
    """Like `Folder`, of meshes; the settings are those of `DistancePreparation`."""

    preparation_type = DistancePreparation


def normalised(mesh: trimesh.Trimesh, kind: str, up: str = "y") -> trimesh.Trimesh:
    """``mesh``, whose axis ``up`` points up, upright and of the size that ``kind`` gives it."""
    vertices = np.asarray(mesh.vertices) @ to_up(up)
    size = Normalisation.of(vertices[np.unique(mesh.faces)], kind)  # type: ignore[arg-type]
    return trimesh.Trimesh((vertices - size.centre) / size.scale, mesh.faces, process=False)


def measured(mesh: trimesh.Trimesh, surface: PointCloud, random: np.random.Generator) -> np.ndarray:
    """Rows of S points of the ``surface`` of a normalised ``mesh``, then of S queries, ``(2 S, 7)`` in float32."""
    count = len(surface)
    near = 3 * count // 4
    offsets = random.standard_normal((near, 3)) * random.choice(OFFSETS, (near, 1))
    queries = np.concatenate([surface.points[:near] + offsets, random.uniform(-REACH, REACH, (count - near, 3))])
    distances = signed_distances(mesh, queries)
    rows = np.zeros((2 * count, CHANNELS), np.float32)
    rows[:count, :6], rows[count:, :3], rows[count:, 6] = surface.rows(6), queries, distances
    return rows


def subsampled(rows: np.ndarray, points: int, queries: int, random: np.random.Generator) -> Tensor:
    """A sample ``(7, points + queries)`` of the rows that `measured` makes."""
    half = len(rows) // 2
    chosen = [random.choice(half, points, replace=False), half + random.choice(half, queries, replace=False)]
    return torch.from_numpy(np.ascontiguousarray(rows[np.concatenate(chosen)].T))
