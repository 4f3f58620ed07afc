"""Colours of the vertices of OFF files, which trimesh skips, and their length, which it does not check."""

import re

import numpy as np
import trimesh
from trimesh.util import comment_strip, decode_text

from modalities.shape.sizes import check_claim

POSITION = 3
"""Numbers of a position, and of a normal."""


def colour(scene: trimesh.Scene, content: bytes) -> None:
    """Give the mesh of a scene, read from an OFF with this content, the colours of its vertices."""
    colours = vertex_colours(content)
    for mesh in scene.geometry.values():
        if colours is not None and len(colours) == len(mesh.vertices):
            mesh.visual.vertex_colors = (colours * 255).round().astype(np.uint8)


def whole(content: bytes) -> bytes:
    """An OFF, if it has as many vertices and faces as its header claims.

    Raises:
        InputError: it is truncated.
    """
    _, lines = _parts(content)
    if lines:
        vertices, faces = map(int, lines[0].split()[:2])
        check_claim(vertices + faces, len(lines) - 1, "vertices and faces")
    return content


def vertex_colours(content: bytes) -> np.ndarray | None:
    """Red, green and blue of each vertex from 0 to 1, ``(N, 3)``, or None.

    The header has a C for colours, N for normals before them and ST for texture coordinates after them, as in COFF and
    CNOFF. Colours are from 0 to 255 if one of their values, alpha included, is above 1.
    """
    kind, lines = _parts(content)
    if "C" not in kind or not lines:
        return None
    count = int(lines[0].split()[0])
    rows = np.array([line.split() for line in lines[1 : count + 1]], dtype=float).reshape(count, -1)
    start, stop = POSITION * (1 + ("N" in kind)), rows.shape[1] - 2 * ("ST" in kind)
    colours = rows[:, start:stop]
    if colours.shape[1] not in (3, 4) or not np.isfinite(colours).all():
        return None
    return (colours[:, :3] / (255 if colours.max() > 1 else 1)).clip(0, 1)


def _parts(content: bytes) -> tuple[str, list[str]]:
    """What stands before OFF in the header, and the lines after it without comments; none if there is no header."""
    header = re.match(r"\s*((?:ST)?[CN]*)OFF(.*)", comment_strip(decode_text(content)).strip(), re.DOTALL)
    return (header[1], [line for line in header[2].splitlines() if line.strip()]) if header else ("", [])
