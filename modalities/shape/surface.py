"""From oriented points to a watertight mesh: a spectral Poisson solve, marching cubes, and a clean-up that is checked.

Peng et al. (2021), "Shape As Points", https://arxiv.org/abs/2106.03452, after Kazhdan et al. (2006), Poisson surface
reconstruction, with the screening of Kazhdan and Hoppe (2013) as one local correction of the level.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
import trimesh
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes
from torch import Tensor

from modalities.shape.cloud import PointCloud
from modalities.shape.normals import oriented
from multidiff.errors import InputError

MARGIN = 1.3
"""Side of the periodic box over the longest side of the points, so that no copy of the shape is a neighbour."""

SMOOTHING = (0.7, 1.0, 1.5, 2.2)
"""Standard deviations of the smoothing, in spacings of the points; each is tried if the one before gives no mesh."""

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
        smallest_part: parts of less volume than this fraction of the largest one's are removed.
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

        Normals that are missing are estimated; those that all point inwards are turned. The
        smoothing is the least in `SMOOTHING` that gives a closed mesh.

        Raises:
            InputError: the points are too few or coincide, or no surface is found that follows them.
        """
        given = cloud.normals is not None
        if len(cloud) < FEWEST:
            raise InputError(f"{len(cloud)} points describe no surface; give at least {FEWEST}")
        if not np.ptp(cloud.points, axis=0).max() > 0:
            raise InputError("no surface is found: all points coincide")
        cloud = oriented(cloud)
        for smoothing in SMOOTHING:
            mesh = self._attempt(cloud, smoothing)
            if mesh is not None and follows(mesh, cloud.points):
                return coloured(decimated(mesh, self.faces), cloud)
        raise InputError(
            f"no surface is found: at no smoothing do the normals of the {len(cloud)} points enclose a volume where "
            f"these are; {'they may be random or of mixed signs' if given else 'give normals, or more points'}"
        )

    def _attempt(self, cloud: PointCloud, smoothing: float) -> trimesh.Trimesh | None:
        box = Box.around(cloud.points, self.resolution)
        points = torch.from_numpy(box.inside(cloud.points))
        width = max(smoothing * spacing(cloud.points) / box.voxel, FINEST)
        normals = torch.from_numpy(np.array(cloud.normals))
        field = signed_field(points, normals, self.resolution, width).numpy()
        field = field if field[0].mean() < 0 else -field  # the normals point inwards
        field[[0, -1]] = field[:, [0, -1]] = field[:, :, [0, -1]] = min(-1e-3, float(field.min()))  # nothing stays open
        if not field.max() > 0:
            return None
        vertices, faces, *_ = marching_cubes(field, 0.0, allow_degenerate=False)
        mesh = without_small_parts(trimesh.Trimesh(box.outside(vertices), faces[:, ::-1]), self.smallest_part)
        return mesh if mesh is not None and mesh.is_watertight and mesh.is_winding_consistent else None


@dataclass(frozen=True)
class Box:
    """The periodic cube of the solve.

    Attributes:
        corner: ``(3,)``.
        voxel: side of a voxel.
    """

    corner: np.ndarray
    voxel: float

    @classmethod
    def around(cls, points: np.ndarray, resolution: int) -> "Box":
        low, high = points.min(axis=0), points.max(axis=0)
        side = float((high - low).max()) * MARGIN
        return cls((low + high) / 2 - side / 2, side / resolution)

    def inside(self, points: np.ndarray) -> np.ndarray:
        """In voxels from the corner."""
        return ((points - self.corner) / self.voxel).astype(np.float32)

    def outside(self, voxels: np.ndarray) -> np.ndarray:
        """The inverse of `inside`."""
        return voxels * self.voxel + self.corner


def spacing(points: np.ndarray) -> float:
    """The side of the square of surface that a point has to itself.

    On a surface sampled at random the nearest neighbour is half of it away, on average: Clark and Evans (1954),
    https://doi.org/10.2307/1931034.
    """
    distances, _ = cKDTree(points).query(points, k=2)
    return 2 * float(distances[:, 1].mean())


def signed_field(points: Tensor, normals: Tensor, resolution: int, width: float) -> Tensor:
    """A function on the grid, positive inside, whose zero is the surface.

    The indicator ``chi`` solves ``laplacian(chi) = -div(V)``, V being the normals spread over the grid and smoothed.
    On thin parts the smoothing lowers it. The level is therefore what it has on the points nearby.

    Args:
        points: ``(N, 3)`` in voxels.
        normals: outward, ``(N, 3)``.
        resolution: R, voxels a side.
        width: standard deviation of the smoothing, in voxels.

    Returns:
        ``(R, R, R)``.
    """
    corners, weights = trilinear(points, resolution)
    frequencies = wave_vector(resolution)
    square = torch.stack(torch.broadcast_tensors(*(k**2 for k in frequencies))).sum(dim=0)
    smoothing = torch.exp(-0.5 * width**2 * square)
    divergence = sum(
        1j * k * torch.fft.rfftn(splat(corners, weights * normals[:, axis, None], resolution))
        for axis, k in enumerate(frequencies)
    )
    square[0, 0, 0] = 1  # the constant is free
    chi = inverse(smoothing * divergence / square, resolution)
    at_points = (chi.reshape(-1)[corners] * weights).sum(dim=1)
    level = at_points.mean()

    def spread(values: Tensor) -> Tensor:
        grid = splat(corners, weights * values[:, None], resolution)
        return inverse(smoothing * torch.fft.rfftn(grid), resolution).clamp(min=0)

    offset = at_points.min()
    density = spread(torch.ones_like(at_points))
    faint = 1e-3 * density.max()
    local = (spread(at_points - offset) + faint * (level - offset)) / (density + faint) + offset
    return chi - local


def trilinear(points: Tensor, resolution: int) -> tuple[Tensor, Tensor]:
    """The flat indices of the 8 voxels around each point and their weights, both ``(N, 8)``."""
    base = points.floor()
    part = points - base
    cell = base.long()
    corners, weights = [], []
    for corner in product((0, 1), repeat=3):
        x, y, z = ((cell + torch.tensor(corner)) % resolution).unbind(dim=1)
        corners.append((x * resolution + y) * resolution + z)
        weights.append(torch.where(torch.tensor(corner, dtype=torch.bool), part, 1 - part).prod(dim=1))
    return torch.stack(corners, dim=1), torch.stack(weights, dim=1)


def splat(corners: Tensor, values: Tensor, resolution: int) -> Tensor:
    """Sums of ``values`` at ``corners``, both ``(N, 8)``, as a grid."""
    grid = torch.zeros(resolution**3, dtype=values.dtype)
    return grid.index_add(0, corners.reshape(-1), values.reshape(-1)).reshape(3 * [resolution])


def wave_vector(resolution: int) -> tuple[Tensor, Tensor, Tensor]:
    """Angular frequencies a voxel along each axis, in the layout of ``rfftn``."""
    full = 2 * torch.pi * torch.fft.fftfreq(resolution)
    half = 2 * torch.pi * torch.fft.rfftfreq(resolution)
    return full[:, None, None], full[None, :, None], half[None, None, :]


def inverse(transform: Tensor, resolution: int) -> Tensor:
    """A real grid from its transform."""
    return torch.fft.irfftn(transform, s=3 * [resolution])


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
