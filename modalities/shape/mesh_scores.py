"""Scores of meshes, whatever their triangles are: how near one is to another, and how rough it is."""

import numpy as np
import trimesh
from scipy.spatial import cKDTree

from modalities.shape.distances import distances
from modalities.shape.files import sample_surface

SAMPLED = 20_000
"""Points of a surface that are compared."""

JUDGED = 30_000
"""Points of each surface in an F-score."""

NEAR = 0.01
"""Distance within which points match in an F-score, in longest sides of the true shape: "F-score at 1 %"."""

NEIGHBOURS = 0.01
"""Largest distance of two points that are compared, in longest sides of the shape."""

MARGIN = 0.03
"""Distance from a true edge within which points do not count, in longest sides of the shape."""

EDGE = 20.0
"""Angle in degrees between two faces from which on their common edge is one of the shape."""

BEND = 30.0
"""Angle in degrees above which two normals of a shape without a known truth are taken as those beside an edge."""

OPPOSITE = 90.0
"""Angle in degrees above which two points are on the two sides of a thin part."""


def surface_f_score(mesh: trimesh.Trimesh, truth: trimesh.Trimesh) -> float:
    """The harmonic mean of the fractions of the two surfaces within `NEAR` of the triangles of the other.

    Raises:
        InputError: libigl is missing.
    """
    random = np.random.default_rng(1)
    points = [sample_surface(each, JUDGED, random, colours=False).points for each in (mesh, truth)]
    to_truth, to_mesh = (distances(other, own) for own, other in zip(points, (truth, mesh), strict=True))
    return f_score(to_truth, to_mesh, NEAR * float(truth.extents.max()))


def f_score(to_truth: np.ndarray, to_shape: np.ndarray, near: float) -> float:
    """The harmonic mean of the fractions of the distances from a shape to the true one, and back, below ``near``.

    Tatarchenko et al. (2019), https://arxiv.org/abs/1905.03678.
    """
    precision, recall = (float((lengths < near).mean()) for lengths in (to_truth, to_shape))
    return 2 * precision * recall / max(precision + recall, 1e-12)


def roughness(mesh: trimesh.Trimesh, truth: trimesh.Trimesh | None = None) -> float:
    """The mean angle in degrees between the normals of neighbouring points of a surface, away from its edges.

    Points are sampled uniformly by area, so that large and small triangles count alike. Two are neighbours within
    `NEIGHBOURS` of each other, and on the same side of a thin part. With ``truth``, points within `MARGIN` of its edges
    are left out; without, as for a generated shape, pairs whose normals differ by more than `BEND` are. The two
    variants are not comparable with each other. NaN if nothing is left.
    """
    size = float(mesh.extents.max())
    cloud = sample_surface(mesh, SAMPLED, np.random.default_rng(0), colours=False)
    if truth is not None:
        away = cKDTree(edge_points(truth, MARGIN * size / 4)).query(cloud.points)[0] > MARGIN * size
        if not away.any():
            return float("nan")
        cloud = cloud[away]
    first, second = cKDTree(cloud.points).query_pairs(NEIGHBOURS * size, output_type="ndarray").T
    normals = cloud.rows(6)[:, 3:]
    cosines = np.einsum("nd,nd->n", normals[first], normals[second])
    angles = np.degrees(np.arccos(cosines.clip(-1, 1)))
    counted = angles <= (OPPOSITE if truth is not None else BEND)
    return float(angles[counted].mean()) if counted.any() else float("nan")


def edge_points(mesh: trimesh.Trimesh, spacing: float) -> np.ndarray:
    """Points ``(N, 3)`` on edges of ``mesh`` whose faces meet at more than `EDGE`; one far away if there are none."""
    sharp = np.degrees(mesh.face_adjacency_angles) > EDGE
    ends = mesh.vertices[mesh.face_adjacency_edges[sharp]]
    if not len(ends):
        return np.full((1, 3), 1e9)
    counts = np.ceil(np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1) / spacing).astype(int) + 1
    parts = [np.linspace(start, end, count) for (start, end), count in zip(ends, counts, strict=True)]
    return np.concatenate(parts)
