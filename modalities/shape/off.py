"""Colours of the vertices of OFF files, which trimesh skips."""

import re

import numpy as np
import trimesh
from trimesh.util import comment_strip, decode_text

POSITION = 3
"""Numbers of a position, and of a normal."""


def colour(scene: trimesh.Scene, content: bytes) -> None:
    """Give the mesh of a scene, read from an OFF with this content, the colours of its vertices."""
    colours = vertex_colours(content)
    for mesh in scene.geometry.values():
        if colours is not None and len(colours) == len(mesh.vertices):
            mesh.visual.vertex_colors = (colours * 255).round().astype(np.uint8)


def vertex_colours(content: bytes) -> np.ndarray | None:
    """Red, green and blue of each vertex from 0 to 1, ``(N, 3)``, or None.

    The header has a C for colours, N for normals before them and ST for texture coordinates after them, as in COFF and
    CNOFF. Colours are from 0 to 255 if one of their values, alpha included, is above 1.
    """
    text = comment_strip(decode_text(content)).strip()
    header = re.match(r"\s*((?:ST)?[CN]*)OFF(.*)", text, re.DOTALL)
    if header is None or "C" not in header[1]:
        return None
    lines = [line for line in header[2].splitlines() if line.strip()]
    count = int(lines[0].split()[0])
    rows = np.array([line.split() for line in lines[1 : count + 1]], dtype=float).reshape(count, -1)
    start, stop = POSITION * (1 + ("N" in header[1])), rows.shape[1] - 2 * ("ST" in header[1])
    colours = rows[:, start:stop]
    if colours.shape[1] not in (3, 4) or not np.isfinite(colours).all():
        return None
    return (colours[:, :3] / (255 if colours.max() > 1 else 1)).clip(0, 1)
