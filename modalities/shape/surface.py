"""From oriented points to a watertight mesh: a Poisson solve, marching cubes, and a clean-up that is checked."""

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
"""Standard deviations of the smoothing, in spacings of the points; each is tried if the one before gives no mesh."""

LEVELS = (0.0, 0.15, 0.3, 0.45, 0.6)
"""How far the surface is let out, as a part of the way from its level to that of the outside; each is tried if the one
before gives a mesh in more parts than the points have: a thin leg of noisy points breaks."""

FINEST = 0.8
"""The least smoothing in voxels: marching cubes cannot follow less."""

STRAY = 3.0
"""How far, in spacings of the points, a surface and its points may be from each other. Of points at random, one in
10^12 is as far from the next."""

BRIDGED, LOST = 0.01, 0.1
"""The part of the surface that may be farther than that from all points, and of the points that may be from it."""

FEWEST = 16
"""Points below this say nothing of a surface."""


@dataclass(frozen=True)
class Reconstruction:
    """How a surface is made.

    Attributes:
        resolution: voxels along each side of the box.
        smallest_part: parts of less volume than this fraction of the largest one's are removed, and points apart from
            the others that are fewer than this fraction of all.
        faces: at most so many, by quadric decimation (the extra ``mesh``); None for as many as there are.

    Raises:
        InputError: a value that cannot be used.
    """

    resolution: int = 128
    smallest_part: float = 0.02
    faces: int | None = None

    def __post_init__(self) -> None:
        if not 16 <= self.resolution <= 512:
            raise InputError(f"the resolution of a surface is 16 to 512 voxels a side, got {self.resolution}")
        if not 0 <= self.smallest_part <= 1:
            raise InputError(f"the smallest part is a fraction of the largest, 0 to 1, got {self.smallest_part}")
        if self.faces is not None and self.faces < 4:
            raise InputError(f"a closed mesh has at least 4 faces, got {self.faces}")

    def mesh(self, cloud: PointCloud) -> trimesh.Trimesh:
        """A closed, outward mesh through the points of ``cloud``, with its colours at the vertices.

        Normals that are missing are estimated; those that all point inwards are turned. The smoothing is the least in
        `SMOOTHING` that gives a closed mesh, and the level the least in `LEVELS` that gives it in no more parts than
        the points have, or else the first: a mesh can come out in more parts, as its report then says.

        Raises:
            InputError: the points are too few or coincide, or no surface is found that follows them.
        """
        given = cloud.normals is not None
        if len(cloud) < FEWEST:
            raise InputError(f"{len(cloud)} points describe no surface; give at least {FEWEST}")
        if not np.ptp(cloud.points, axis=0).max() > 0:
            raise InputError("no surface is found: all points coincide")
        cloud, parts = without_strays(cloud, self.smallest_part)
        cloud = oriented(cloud)
        for smoothing in SMOOTHING:
            mesh = self._attempt(cloud, smoothing, parts)
            if mesh is not None:
                return coloured(decimated(mesh, self.faces), cloud)
        raise InputError(
            f"no surface is found: at no smoothing do the normals of the {len(cloud)} points enclose a volume where "
            f"these are; {'they may be random or of mixed signs' if given else 'give normals, or more points'}"
        )

    def _attempt(self, cloud: PointCloud, smoothing: float, parts: int) -> trimesh.Trimesh | None:
        """The first mesh of `LEVELS` in at most ``parts`` parts, or else the first that is closed, if any is."""
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
        field[[0, -1]] = field[:, [0, -1]] = field[:, :, [0, -1]] = min(-1e-3, float(field.min()))  # nothing stays open
        if not field.max() > 0:
            return None
        vertices, faces, *_ = marching_cubes(field, 0.0, allow_degenerate=False)
        mesh = without_small_parts(trimesh.Trimesh(box.outside(vertices), faces[:, ::-1]), self.smallest_part)
        return mesh if mesh is not None and mesh.is_watertight and mesh.is_winding_consistent else None


def spacing(points: np.ndarray) -> float:
    """The side of the square of surface that a point has to itself.

    On a surface sampled at random the nearest neighbour is half of it away, on average: Clark and Evans (1954),
    https://doi.org/10.2307/1931034.
    """
    distances, _ = cKDTree(points).query(points, k=2)
    return 2 * float(distances[:, 1].mean())


def without_strays(cloud: PointCloud, smallest: float) -> tuple[PointCloud, int]:
    """``cloud`` less the points apart from the others, and the number of parts that those which are left lie in.

    Points within `STRAY` spacings of each other are of one part; parts of fewer points than ``smallest`` of all are
    left out, but for the largest.
    """
    near = cKDTree(cloud.points).query_pairs(STRAY * spacing(cloud.points), output_type="ndarray")
    graph = coo_matrix((np.ones(len(near), bool), near.T), (len(cloud), len(cloud)))
    _, labels = connected_components(graph, directed=False)
    sizes = np.bincount(labels)
    kept = sizes >= min(smallest * len(cloud), sizes.max())
    return cloud[kept[labels]], int(kept.sum())


def without_small_parts(mesh: trimesh.Trimesh, smallest: float) -> trimesh.Trimesh | None:
    """``mesh`` less its parts and cavities below ``smallest`` of the largest volume; None if none is left."""
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
    """Whether the surface lies where the points are: wrong normals close it, but elsewhere."""
    far = max(STRAY * spacing(points), float(mesh.edges_unique_length.max()))
    bridged = cKDTree(points).query(mesh.vertices, distance_upper_bound=far)[0] == np.inf
    lost = cKDTree(mesh.vertices).query(points, distance_upper_bound=far)[0] == np.inf
    return bool(bridged.mean() < BRIDGED and lost.mean() < LOST)


def decimated(mesh: trimesh.Trimesh, faces: int | None) -> trimesh.Trimesh:
    """``mesh`` with at most ``faces`` faces, still closed.

    Raises:
        InputError: the package that does it is missing, or so few faces cannot be closed.
    """
    if faces is None or len(mesh.faces) <= faces:
        return mesh
    try:
        smaller = mesh.simplify_quadric_decimation(face_count=faces)
    except ImportError as error:
        raise InputError("fewer faces need a package more: pip install 'multidiff-toolkit[mesh]'") from error
    if not (smaller.is_watertight and smaller.is_winding_consistent):
        smaller = repaired(smaller)
    if not smaller.is_watertight:
        raise InputError(f"{faces} faces are too few to keep this mesh closed; ask for more")
    return smaller


def repaired(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """``mesh`` made a manifold by manifold3d, if it is installed and can; otherwise as it is."""
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
    """``mesh`` with the colours of the points nearest to each vertex, if there are any."""
    if cloud.colours is None:
        return mesh
    distances, nearest = cKDTree(cloud.points).query(mesh.vertices, k=min(4, len(cloud)))
    weights = 1 / np.maximum(distances, 1e-9)
    colours = np.einsum("vk,vkc->vc", weights, cloud.colours[nearest]) / weights.sum(axis=1, keepdims=True)
    mesh.visual.vertex_colors = np.concatenate([colours, np.ones((len(colours), 1))], axis=1)
    return mesh
