"""From oriented points to a watertight mesh: Poisson reconstruction, marching cubes, and checks of the result."""

from dataclasses import dataclass

import numpy as np
import torch
import trimesh
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes

from modalities.shape.cloud import PointCloud
from modalities.shape.normals import oriented
from modalities.shape.poisson import Box, signed_field
from multidiff.errors import InputError

SMOOTHING = (0.7, 1.0, 1.5, 2.2)
"""Standard deviations of the smoothing, in spacings of the points, tried in this order until one gives a mesh."""

LEVELS = (0.0, 0.15, 0.3, 0.45, 0.6)
"""Iso-levels, from that of the points (0) towards that of the outside (1), tried in this order until the mesh has no
more parts than the points. Higher ones thicken the shape: thin legs of noisy points break at 0."""

FINEST = 0.8
"""Smallest smoothing in voxels: marching cubes cannot resolve less."""

STRAY = 3.0
"""Largest accepted distance, in spacings of the points, between a surface and its points. Of random points, one in
10^12 is that far from its nearest neighbour."""

BRIDGED, LOST = 0.01, 0.1
"""Accepted fractions of the surface farther than that from all points, and of the points farther from the surface."""

FEWEST = 16
"""Fewest points that a surface is reconstructed from."""


@dataclass(frozen=True)
class Reconstruction:
    """Settings of a surface reconstruction.

    Attributes:
        resolution: voxels along each side of the box.
        smallest_part: parts with a smaller fraction of the largest volume are removed, and so are isolated groups
            with a smaller fraction of the points.
        faces: the most faces, by quadric decimation (extra ``mesh``); None for no limit.

    Raises:
        InputError: a value that cannot be used.
    """

    resolution: int = 128
    smallest_part: float = 0.02
    faces: int | None = None

    def __post_init__(self) -> None:
        if not 16 <= self.resolution <= 512:
            raise InputError(f"resolution is 16 to 512 voxels along a side, got {self.resolution}")
        if not 0 <= self.smallest_part <= 1:
            raise InputError(f"smallest_part is a fraction from 0 to 1, got {self.smallest_part}")
        if self.faces is not None and self.faces < 4:
            raise InputError(f"faces is at least 4 for a closed mesh, got {self.faces}")

    def mesh(self, cloud: PointCloud) -> trimesh.Trimesh:
        """A watertight mesh through the points of ``cloud``, oriented outwards, with colours at the vertices.

        Missing normals are estimated, and normals that all point inwards are flipped. The smoothing is the smallest in
        `SMOOTHING` that gives a closed mesh. The iso-level is the lowest in `LEVELS` that gives no more parts than the
        points have; if none does, the first, and the mesh has more parts.

        Raises:
            InputError: the points are too few or coincide, or no closed surface follows them.
        """
        given = cloud.normals is not None
        if len(cloud) < FEWEST:
            raise InputError(f"{len(cloud)} points are too few for a surface; give at least {FEWEST}")
        if not np.ptp(cloud.points, axis=0).max() > 0:
            raise InputError("no surface is found: all points coincide")
        cloud, parts = without_strays(cloud, self.smallest_part)
        cloud = oriented(cloud)
        for smoothing in SMOOTHING:
            mesh = self._attempt(cloud, smoothing, parts)
            if mesh is not None:
                return coloured(decimated(mesh, self.faces), cloud)
        raise InputError(
            f"no surface is found: the normals of the {len(cloud)} points enclose no volume near them; "
            f"{'they may be random or of mixed signs' if given else 'give normals, or more points'}"
        )

    def _attempt(self, cloud: PointCloud, smoothing: float, parts: int) -> trimesh.Trimesh | None:
        """The mesh at the first of `LEVELS` with at most ``parts`` parts, else the first closed one, else None."""
        box = Box.around(cloud.points, self.resolution)
        points = torch.from_numpy(box.inside(cloud.points))
        width = max(smoothing * spacing(cloud.points) / box.voxel, FINEST)
        normals = torch.from_numpy(np.array(cloud.normals))
        field = signed_field(points, normals, self.resolution, width).numpy()
        outside = float(field[0].mean())
        field = field if outside < 0 else -field  # the normals point inwards
        found = None
        for level in LEVELS:
            mesh = self._surface(field + level * abs(outside), box)
            if mesh is None or not follows(mesh, cloud.points):
                break
            if mesh.body_count <= parts:
                return mesh
            found = mesh if found is None else found
        return found

    def _surface(self, field: np.ndarray, box: Box) -> trimesh.Trimesh | None:
        field[[0, -1]] = field[:, [0, -1]] = field[:, :, [0, -1]] = min(
            -1e-3, float(field.min())
        )  # so that the surface closes at the border
        if not field.max() > 0:
            return None
        vertices, faces, *_ = marching_cubes(field, 0.0, allow_degenerate=False)
        mesh = without_small_parts(trimesh.Trimesh(box.outside(vertices), faces[:, ::-1]), self.smallest_part)
        return mesh if mesh is not None and mesh.is_watertight and mesh.is_winding_consistent else None


def spacing(points: np.ndarray) -> float:
    """The square root of the area per point.

    On a randomly sampled surface, the mean distance to the nearest neighbour is half of it: Clark and Evans (1954),
    https://doi.org/10.2307/1931034.
    """
    distances, _ = cKDTree(points).query(points, k=2)
    return 2 * float(distances[:, 1].mean())


def without_strays(cloud: PointCloud, smallest: float) -> tuple[PointCloud, int]:
    """``cloud`` without isolated points, and the number of its parts.

    Points within `STRAY` spacings of each other belong to one part. Parts with less than the fraction ``smallest`` of
    all points are removed, except the largest.
    """
    near = cKDTree(cloud.points).query_pairs(STRAY * spacing(cloud.points), output_type="ndarray")
    graph = coo_matrix((np.ones(len(near), bool), near.T), (len(cloud), len(cloud)))
    _, labels = connected_components(graph, directed=False)
    sizes = np.bincount(labels)
    kept = sizes >= min(smallest * len(cloud), sizes.max())
    return cloud[kept[labels]], int(kept.sum())


def without_small_parts(mesh: trimesh.Trimesh, smallest: float) -> trimesh.Trimesh | None:
    """``mesh`` without parts and cavities below ``smallest`` of the largest volume; None if none is left."""
    mesh.merge_vertices()
    labels = trimesh.graph.connected_component_labels(mesh.face_adjacency, node_count=len(mesh.faces))
    triangles = mesh.triangles - mesh.vertices.mean(axis=0)
    pieces = np.einsum("fd,fd->f", triangles[:, 0], np.cross(triangles[:, 1], triangles[:, 2])) / 6
    volumes = np.bincount(labels, weights=pieces)
    if not volumes.max() > 0:
        return None
    kept = np.abs(volumes) >= smallest * volumes.max()
    mesh.update_faces(kept[labels])
    mesh.remove_unreferenced_vertices()
    return mesh


def follows(mesh: trimesh.Trimesh, points: np.ndarray) -> bool:
    """Whether the surface lies near the points: with wrong normals, it closes elsewhere."""
    far = max(STRAY * spacing(points), float(mesh.edges_unique_length.max()))
    bridged = cKDTree(points).query(mesh.vertices, distance_upper_bound=far)[0] == np.inf
    lost = cKDTree(mesh.vertices).query(points, distance_upper_bound=far)[0] == np.inf
    return bool(bridged.mean() < BRIDGED and lost.mean() < LOST)


def decimated(mesh: trimesh.Trimesh, faces: int | None) -> trimesh.Trimesh:
    """``mesh`` simplified to at most ``faces`` faces, still watertight.

    Raises:
        InputError: the package for it is missing, or the mesh does not stay closed.
    """
    if faces is None or len(mesh.faces) <= faces:
        return mesh
    try:
        smaller = mesh.simplify_quadric_decimation(face_count=faces)
    except ImportError as error:
        raise InputError("fewer faces need another package: pip install 'multidiff-toolkit[mesh]'") from error
    if not (smaller.is_watertight and smaller.is_winding_consistent):
        smaller = repaired(smaller)
    if not smaller.is_watertight:
        raise InputError(f"{faces} faces are too few to keep this mesh closed; ask for more")
    return smaller


def repaired(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """``mesh`` repaired by manifold3d, if that is installed and succeeds; otherwise unchanged."""
    try:
        import manifold3d  # noqa: PLC0415  an extra
    except ImportError:
        return mesh
    solid = manifold3d.Manifold(
        manifold3d.Mesh(np.asarray(mesh.vertices, np.float32), np.asarray(mesh.faces, np.uint32))
    )
    if solid.status() != manifold3d.Error.NoError or solid.is_empty():
        return mesh
    result = solid.to_mesh()
    return trimesh.Trimesh(result.vert_properties[:, :3], result.tri_verts)


def coloured(mesh: trimesh.Trimesh, cloud: PointCloud) -> trimesh.Trimesh:
    """``mesh`` with colours interpolated from the points nearest to each vertex, if ``cloud`` has colours."""
    if cloud.colours is None:
        return mesh
    distances, nearest = cKDTree(cloud.points).query(mesh.vertices, k=min(4, len(cloud)))
    weights = 1 / np.maximum(distances, 1e-9)
    colours = np.einsum("vk,vkc->vc", weights, cloud.colours[nearest]) / weights.sum(axis=1, keepdims=True)
    mesh.visual.vertex_colors = np.concatenate([colours, np.ones((len(colours), 1))], axis=1)
    return mesh
