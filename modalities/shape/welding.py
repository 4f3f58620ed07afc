"""Vertices of equal positions as one: a file may split them at creases and seams, and an STL does for every face."""

import numpy as np
import trimesh


def welded(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """``mesh`` itself if it encloses a volume; otherwise with one vertex for each position, with its first colour.

    Without textures, since their seams are what splits vertices. Positions are compared exactly.
    """
    if mesh.is_volume:
        return mesh
    numbers = positions(mesh)
    first = np.unique(numbers, return_index=True)[1]
    visual = mesh.visual.to_color() if mesh.visual.kind == "texture" else mesh.visual
    colours = visual.vertex_colors[first] if visual.defined else None
    return trimesh.Trimesh(
        mesh.vertices[first], numbers[mesh.faces], vertex_colors=colours, metadata=mesh.metadata, process=False
    )


def positions(mesh: trimesh.Trimesh) -> np.ndarray:
    """Numbers from 0 of the vertices, ``(V,)``, equal for equal positions."""
    return numbered((mesh.vertices + 0.0).view(np.int64))  # -0.0 becomes 0.0


def numbered(rows: np.ndarray) -> np.ndarray:
    """Numbers from 0 of the rows of integers ``(N, K)``, equal for equal rows: hashes of 64 bits are compared."""
    keys = np.zeros(len(rows), np.uint64)
    for column in rows.T.astype(np.uint64):
        keys = (keys ^ column ^ (column >> np.uint64(29))) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(32)
    return np.unique(keys, return_inverse=True)[1]
