"""Shaded pictures of point clouds, rendered on the CPU: each point is a small disc perpendicular to its normal.

Pfister et al. (2000), "Surfels", https://doi.org/10.1145/344779.344936.
"""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from modalities.shape.cloud import PointCloud
from modalities.shape.mesh_surface import MeshSurface
from modalities.shape.normals import oriented
from modalities.shape.surface import spacing

TILE = 160
"""Side of a picture in pixels."""

FRAMES = 36
"""Frames of one turn."""

BACKGROUND = np.array([245, 246, 248]) / 255
CLAY = (0.66, 0.68, 0.72)
"""Colour of clouds without colours."""

LIGHT = np.array([0.35, 0.75, 0.56])
"""Direction to the light in camera coordinates: x right, y up, z to the camera."""

VIEW = (-30.0, 20.0)
"""Degrees of rotation about y, then of elevation of the camera."""

SOLID = 2
"""Points of a mesh for each pixel of its picture."""

_OVERSAMPLING = 2


def render(cloud: PointCloud, view: tuple[float, float] = VIEW, size: int = TILE) -> Image.Image:
    """``cloud`` in parallel projection, scaled to fill the picture."""
    cloud = oriented(solid(cloud, size))
    turn = _rotation(*view)
    low, high = cloud.points.min(axis=0), cloud.points.max(axis=0)
    radius = max(float(np.linalg.norm(high - low)) / 2, 1e-9)
    points = (cloud.points - (low + high) / 2) @ turn.T / radius
    normals = np.tile([0.0, 0.0, 1.0], (len(cloud), 1)) if cloud.normals is None else cloud.normals @ turn.T
    colours = np.tile(CLAY, (len(cloud), 1)) if cloud.colours is None else cloud.colours
    pixels = size * _OVERSAMPLING
    disc = max(0.9 * spacing(points), 5 / pixels) if len(points) > 1 else 0.05
    first = np.cross(normals, np.where(np.abs(normals[:, :1]) < 0.9, [[1.0, 0, 0]], [[0, 1.0, 0]]))
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(normals, first)
    around = _disc(disc, 2.6 / pixels)  # 1.3 pixels: discs overlap, so that few gaps show
    spots = points[:, None] + around[:, :1] * first[:, None] + around[:, 1:] * second[:, None]
    light = LIGHT / np.linalg.norm(LIGHT)
    shade = 0.35 + 0.65 * np.clip(normals @ light, 0, 1)
    shaded = (colours * shade[:, None]) ** (1 / 1.2)
    return _rasterised(spots, shaded, pixels).resize((size, size), Image.Resampling.BOX)


def solid(cloud: PointCloud, size: int = TILE) -> PointCloud:
    """As many points of the mesh of ``cloud``, if it is known, as make a picture of ``size`` pixels a side solid.

    Points with colours stay as they are.
    """
    if not isinstance(cloud, MeshSurface) or cloud.colours is not None:
        return cloud
    dense = MeshSurface.of(cloud.mesh, SOLID * size**2)
    return PointCloud(dense.points, dense.normals)


def contact_sheet(clouds: Sequence[PointCloud]) -> Image.Image:
    """The shapes in reading order on a near-square grid.

    Raises:
        ValueError: there is no cloud.
    """
    if not clouds:
        raise ValueError("a contact sheet needs at least one cloud")
    return _sheet([render(cloud) for cloud in clouds])


def turntable(clouds: Sequence[PointCloud], frames: int = FRAMES) -> list[Image.Image]:
    """The contact sheet at equal steps of one turn about the upright axis."""
    turns, solids = (VIEW[0] + 360 * i / frames for i in range(frames)), [solid(cloud) for cloud in clouds]
    return [_sheet([render(cloud, (turn, VIEW[1])) for cloud in solids]) for turn in turns]


def _rotation(about_y: float, from_above: float) -> np.ndarray:
    a, b = math.radians(about_y), math.radians(from_above)
    spin = np.array([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]])
    tilt = np.array([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
    return tilt @ spin


def _disc(radius: float, step: float) -> np.ndarray:
    """Points ``(K, 2)`` on a grid of spacing ``step`` that fill a disc."""
    step = max(step, radius / 12)
    ticks = np.arange(-radius, radius + step, step)
    grid = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    return np.vstack([[0.0, 0.0], grid[np.linalg.norm(grid, axis=1) <= radius]])


def _rasterised(spots: np.ndarray, shades: np.ndarray, pixels: int) -> Image.Image:
    """Spots ``(N, K, 3)`` within the unit ball, in the colours ``(N, 3)``; the nearest to the camera are visible."""
    places = np.floor((spots[..., :2] * [1, -1] * 0.98 + 1) / 2 * pixels).astype(int).clip(0, pixels - 1)
    flat = (places[..., 1] * pixels + places[..., 0]).ravel()
    order = np.argsort(spots[..., 2].ravel())  # from far to near: the nearest are written last
    picture = np.tile(BACKGROUND, (pixels * pixels, 1))
    picture[flat[order]] = np.repeat(shades, spots.shape[1], axis=0)[order]
    return Image.fromarray((picture.reshape(pixels, pixels, 3).clip(0, 1) * 255).round().astype(np.uint8))


def _sheet(tiles: Sequence[Image.Image]) -> Image.Image:
    columns = math.ceil(math.sqrt(len(tiles)))
    rows = math.ceil(len(tiles) / columns)
    side = tiles[0].width
    sheet = Image.new("RGB", (columns * side, rows * side), tuple((BACKGROUND * 255).astype(int).tolist()))
    for i, tile in enumerate(tiles):
        sheet.paste(tile, (i % columns * side, i // columns * side))
    return sheet
