"""Smoothing of the meshes of learned distances, which are a little wavy where the true surface is flat."""

import math
from typing import NamedTuple

import numpy as np
import torch
import trimesh
from scipy.sparse import coo_array, eye_array
from scipy.sparse.linalg import cg
from scipy.spatial import cKDTree

from modalities.shape.files import sample_surface

RADIUS = 0.08
"""Distance within which normals are averaged, as a part of the longest side; most of the neighbours are nearer."""

BEND = 10.0
"""Degrees: normals that differ by more are of another face, and count less."""

SAMPLED, COUNTED = 20_000, 48
"""Points of the surface whose normals are averaged, and the most neighbours of each."""

AT_ONCE = 50_000
"""Triangles whose neighbours are in memory at once."""

ROUNDS = 8
"""Times that normals are averaged."""

SPREAD = 3
"""Times that vertices are spread over the surface."""

KEPT = 0.01
"""Weight of the former position of a vertex, relative to that of an edge of a triangle."""


class Neighbours(NamedTuple):
    """Neighbours of N points: rows of the sampled points, ``(N, K)``, and their weights by distance, ``(N, K)``."""

    indices: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, points: np.ndarray, tree: cKDTree, reach: float) -> "Neighbours":
        distances, indices = tree.query(points, COUNTED, distance_upper_bound=reach, workers=torch.get_num_threads())
        found = np.isfinite(distances)
        return cls(np.where(found, indices, 0), np.exp(-2 * np.square(distances / reach)).astype(np.float32))


def smoothed(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """``mesh`` with flat and gently curved faces smoothed, edges and thin parts kept, and the same triangles.

    Normals are averaged over neighbours of similar normals, as by Zheng et al. (2011),
    https://doi.org/10.1109/TVCG.2010.264. The triangles are turned towards the averages and joined by least squares, as
    by Yu et al. (2004), https://doi.org/10.1145/1015706.1015774.
    """
    mesh = _spread(mesh)
    reach = RADIUS * float(mesh.extents.max())
    cloud = sample_surface(mesh, SAMPLED, np.random.default_rng(0), colours=False)
    points, normals = np.split(cloud.rows(6), 2, axis=1)
    tree = cKDTree(points)
    near = Neighbours.of(points, tree, reach)
    for _ in range(ROUNDS - 1):
        normals = _averaged(normals, normals, near)
    chunks = np.array_split(np.arange(len(mesh.faces)), -(-len(mesh.faces) // AT_ONCE))
    turned = [
        _averaged(mesh.face_normals[rows], normals, Neighbours.of(mesh.triangles_center[rows], tree, reach))
        for rows in chunks
    ]
    return _turned(mesh, np.concatenate(turned))


def _spread(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """``mesh`` without slivers, whose normals are unreliable: vertices move along the surface to their neighbours."""
    vertices, normals, count = np.array(mesh.vertices), mesh.vertex_normals, len(mesh.vertices)
    pairs = np.concatenate([mesh.edges, mesh.edges[:, ::-1]])
    links = coo_array((np.ones(len(pairs)), tuple(pairs.T)), shape=(count, count)).tocsr()
    degrees = links.sum(axis=1)[:, None]
    for _ in range(SPREAD):
        moves = links @ vertices / degrees - vertices
        vertices += (moves - normals * np.einsum("vi,vi->v", moves, normals)[:, None]) / 2
    return trimesh.Trimesh(vertices, mesh.faces, process=False)


def _averaged(own: np.ndarray, normals: np.ndarray, near: Neighbours) -> np.ndarray:
    """Means of the ``normals`` ``(P, 3)`` that are near and similar to ``own`` ``(N, 3)``; without any, it stays."""
    found = normals[near.indices]
    deviation = 2 * math.sin(math.radians(BEND) / 2)
    similar = np.exp(((found @ own[..., None])[..., 0] - 1) / deviation**2)
    means = ((near.weights * similar)[:, None] @ found)[:, 0] + 1e-9 * own
    return means / np.linalg.norm(means, axis=1, keepdims=True).clip(min=1e-12)


def _turned(mesh: trimesh.Trimesh, normals: np.ndarray) -> trimesh.Trimesh:
    """``mesh`` with the triangles turned towards ``normals`` ``(F, 3)``, and joined by least squares of their edges."""
    vertices, faces = np.asarray(mesh.vertices), mesh.faces
    corners = _rotated(mesh.triangles, mesh.face_normals, normals)
    edges = (np.roll(corners, -1, axis=1) - corners).reshape(-1, 3)
    ends, rows = (np.roll(faces, -1, axis=1).ravel(), faces.ravel()), np.arange(faces.size)
    places = (np.tile(rows, 2), np.concatenate(ends))
    signs = np.repeat([1.0, -1.0], faces.size)
    along = coo_array((signs, places), shape=(faces.size, len(vertices))).tocsr()
    matrix = (along.T @ along + KEPT * eye_array(len(vertices))).tocsr()
    wanted = along.T @ (edges - along @ vertices)
    moves = [cg(matrix, column, rtol=1e-3, maxiter=1000)[0] for column in wanted.T]
    return trimesh.Trimesh(vertices + np.stack(moves, axis=1), faces, process=False)


def _rotated(triangles: np.ndarray, own: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Triangles ``(F, 3, 3)`` after the smallest rotation from ``own`` to ``normals``, both ``(F, 3)``: Rodrigues."""
    axis = np.cross(own, normals)[:, None]
    cosine = np.einsum("fi,fi->f", own, normals)[:, None, None]
    along = np.einsum("fki,fli->fk", triangles, axis)[..., None]
    return triangles * cosine + np.cross(axis, triangles) + axis * along / (1 + cosine).clip(min=1e-6)
