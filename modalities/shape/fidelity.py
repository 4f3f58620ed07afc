"""How near a decoded mesh is to the points of its original."""

import numpy as np
import trimesh
from scipy.spatial import cKDTree

from modalities.shape.cloud import PointCloud
from modalities.shape.distances import nearest_faces
from modalities.shape.files import sample_surface
from modalities.shape.mesh_scores import JUDGED, NEAR, f_score
from modalities.shape.surface import spacing

CONSIDERED = 8
"""Points of the original, those with the nearest centres, among which the nearest disc is found."""


def fidelity(original: PointCloud, mesh: trimesh.Trimesh) -> dict[str, float]:
    """Four measures of ``mesh`` against points with normals; lengths are in longest sides of the ``original``.

    `JUDGED` points of the mesh are compared with the original by `nearest_discs`, and the points of the original with
    the triangles of the mesh.

    ``f_score``: the harmonic mean of the fractions within `NEAR` (Tatarchenko et al. 2019,
    https://arxiv.org/abs/1905.03678). ``chamfer_l1``: the mean distance, averaged over both directions.
    ``normal_consistency``: the mean absolute cosine between the two normals, likewise; 1 is best (both of Mescheder et
    al. 2019, https://arxiv.org/abs/1812.03828). ``watertight``: 1 if each edge of the mesh joins two triangles, else 0.

    Raises:
        InputError: libigl is missing.
    """
    size = float(np.ptp(original.points, axis=0).max())
    sampled = sample_surface(mesh, JUDGED, np.random.default_rng(1), colours=False)
    to_original, discs = nearest_discs(sampled, original)
    to_mesh, faces = nearest_faces(mesh, original.points)
    cosines = (
        _cosines(sampled.rows(6)[:, 3:], original.rows(6)[discs, 3:]),
        _cosines(original.rows(6)[:, 3:], mesh.face_normals[faces]),
    )
    return {
        "f_score": f_score(to_original, to_mesh, NEAR * size),
        "chamfer_l1": float(to_original.mean() + to_mesh.mean()) / 2 / size,
        "normal_consistency": float(sum(each.mean() for each in cosines)) / 2,
        "watertight": float(mesh.is_watertight),
    }


def nearest_discs(cloud: PointCloud, original: PointCloud) -> tuple[np.ndarray, np.ndarray]:
    """Distances from the points of ``cloud`` to the surface through those of ``original``; which disc of it is nearest.

    The points of a training sample are farther apart than the distances that an F-score counts, so each stands for a
    disc perpendicular to its normal, with a radius of the `spacing`. For a point with another normal, its radius is
    smaller by the cosine between the two: at an edge, discs do not extend the other side.

    Returns:
        ``(N,)`` each.
    """
    centres, normals = np.split(original.rows(6).astype(float), 2, axis=1)
    points, own = np.split(cloud.rows(6).astype(float), 2, axis=1)
    _, near = cKDTree(centres).query(points, k=list(range(1, min(CONSIDERED, len(original)) + 1)))
    offsets = points[:, None] - centres[near]
    above = np.einsum("nkd,nkd->nk", offsets, normals[near])
    aside = np.linalg.norm(offsets - above[:, :, None] * normals[near], axis=-1)
    radius = spacing(centres) * _cosines(own[:, None], normals[near])
    distances = np.hypot(above, np.maximum(aside - radius, 0))
    best = distances.argmin(axis=1)[:, None]
    return np.take_along_axis(distances, best, 1)[:, 0], np.take_along_axis(near, best, 1)[:, 0]


def _cosines(normals: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.abs((normals * others).sum(axis=-1))
