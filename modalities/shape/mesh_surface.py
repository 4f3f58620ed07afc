"""Shapes whose mesh is known."""

import html
from dataclasses import dataclass, field

import numpy as np
import trimesh

from modalities.shape.cloud import PointCloud
from modalities.shape.files import sample_surface
from modalities.shape.smoothing import smoothed
from modalities.shape.surface import Reconstruction, decimated
from modalities.shape.volume import to_mesh

SPECK = 0.01
"""Part of the area of a decoded mesh below which what hangs in the air is dropped."""


@dataclass(frozen=True)
class MeshSurface(PointCloud):
    """Points sampled from a mesh, which is kept: mesh files of it hold the mesh itself.

    Attributes:
        mesh: watertight.
    """

    mesh: trimesh.Trimesh = field(kw_only=True)

    @classmethod
    def of(cls, mesh: trimesh.Trimesh, count: int) -> "MeshSurface":
        """``mesh`` with ``count`` points on it; the same each time."""
        cloud = sample_surface(mesh, count, np.random.default_rng(0), colours=False)
        return cls(cloud.points, cloud.normals, mesh=mesh)

    def _repr_html_(self) -> str:
        from trimesh.viewer.notebook import scene_to_html  # noqa: PLC0415  which loads pyglet where it is installed

        page = html.escape(scene_to_html(self.mesh.scene()))
        return f'<iframe title="3D view" srcdoc="{page}" style="width:100%;height:360px;border:none"></iframe>'


def without_specks(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """``mesh`` without the connected parts that have less than `SPECK` of its area."""
    parts = trimesh.graph.connected_component_labels(mesh.face_adjacency, node_count=len(mesh.faces))
    areas = np.bincount(parts, mesh.area_faces)
    kept = (areas >= SPECK * areas.sum())[parts]
    return mesh if kept.all() else mesh.submesh([np.flatnonzero(kept)], append=True, repair=False)


def decoded_mesh(volume: np.ndarray) -> trimesh.Trimesh:
    """The mesh in learned signed distances, ``(R, R, R)``, as users get it."""
    return smoothed(without_specks(to_mesh(volume)))


def mesh_of(cloud: PointCloud, reconstruction: Reconstruction) -> trimesh.Trimesh:
    """The mesh of a shape: its own, with at most as many faces as asked for, or that reconstructed from its points."""
    if isinstance(cloud, MeshSurface):
        return decimated(cloud.mesh.copy(), reconstruction.faces)
    return reconstruction.mesh(cloud)
