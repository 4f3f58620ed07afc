"""The winding of meshes: closed bodies are turned outwards, and doubled faces are counted."""

import numpy as np
import trimesh
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from modalities.shape.welding import numbered, positions

TURNED, DOUBLED = "turned_bodies", "doubled_faces"
"""Names of the number of bodies that were turned, and of pairs of opposite faces, in the metadata of a mesh."""

FLAT = 1e-9
"""Volume, in cubes of the side of a square of the same area, below which a body has no inside."""


def turn_outwards(mesh: trimesh.Trimesh) -> None:
    """Turn the bodies of ``mesh`` that are inside out, and count them and doubled faces in its metadata.

    A body is a part connected by edges. It has an inside if each of its edges is run through equally often in both
    directions, and is inside out if its volume is negative, except cavities: see `inside_out`.
    """
    faces = positions(mesh)[mesh.faces]
    edges = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    undirected = numbered(np.sort(edges, axis=1))
    owner = np.repeat(np.arange(len(faces)), 3)
    count, bodies = _bodies(owner, undirected, len(faces))
    excess = np.bincount(undirected, weights=np.sign(edges[:, 1] - edges[:, 0]))
    closed = np.bincount(bodies[owner], weights=excess[undirected] != 0, minlength=count) == 0
    turned = inside_out(mesh, bodies, closed)
    if turned.any():
        mesh.faces = np.where(turned[bodies][:, None], mesh.faces[:, [0, 2, 1]], mesh.faces)
    mesh.metadata[TURNED], mesh.metadata[DOUBLED] = int(turned.sum()), _doubled(faces)


def inside_out(mesh: trimesh.Trimesh, bodies: np.ndarray, closed: np.ndarray) -> np.ndarray:
    """Which of the bodies have to be turned, ``(B,)``.

    If the closed bodies together have a negative volume, all of them are turned first. Then the bodies of negative
    volume are turned, except those in the bounding box of one of positive volume: they are its cavities.

    Args:
        mesh: of F faces.
        bodies: number of the body of each face, ``(F,)``.
        closed: whether each body is closed, ``(B,)``.
    """
    triangles = mesh.triangles - mesh.vertices[mesh.faces].mean(axis=(0, 1))
    pieces = np.einsum("fd,fd->f", triangles[:, 0], np.cross(triangles[:, 1], triangles[:, 2])) / 6
    volumes = np.bincount(bodies, weights=pieces)
    flat = np.abs(volumes) <= FLAT * np.bincount(bodies, weights=mesh.area_faces) ** 1.5
    volumes = np.where(closed & ~flat, volumes, 0.0)
    sign = -1.0 if volumes.sum() < 0 else 1.0
    turned = (volumes != 0) & (sign < 0)
    negative, solid = np.flatnonzero(sign * volumes < 0), np.flatnonzero(sign * volumes > 0)
    if len(negative):
        low, high = _boxes(triangles, bodies, len(volumes))
    for body in negative:
        cavity = (low[solid] <= low[body]).all(axis=1) & (high[solid] >= high[body]).all(axis=1)
        turned[body] ^= not cavity.any()
    return turned


def _boxes(triangles: np.ndarray, bodies: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and highest coordinates of each body, ``(B, 3)``."""
    low, high = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    np.minimum.at(low, bodies, triangles.min(axis=1))
    np.maximum.at(high, bodies, triangles.max(axis=1))
    return low, high


def _bodies(owner: np.ndarray, edges: np.ndarray, faces: int) -> tuple[int, np.ndarray]:
    """The number of parts connected by edges, and that of each face."""
    nodes = faces + int(edges.max()) + 1
    graph = coo_array((np.ones(len(owner), bool), (owner, faces + edges)), (nodes, nodes))
    count, labels = connected_components(graph, directed=False)
    return count, labels[:faces]


def _doubled(faces: np.ndarray) -> int:
    """Pairs of faces with the same corners in opposite order."""
    place = numbered(np.sort(faces, axis=1))
    if place.max() + 1 == len(faces):
        return 0
    even = (faces < np.roll(faces, -1, axis=1)).sum(axis=1) == 2  # of 0 1 2, 1 2 0 and 2 0 1
    return int(np.minimum(np.bincount(place, weights=even), np.bincount(place, weights=~even)).sum())
