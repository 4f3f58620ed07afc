"""Volumes of signed distances, and their zero level sets as watertight meshes.

A volume ``(R, R, R)`` holds values at the nodes of a regular grid over the cube from `-REACH` to `REACH` along x, y and
z, corners included; values are negative inside.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
import trimesh
from skimage.measure import marching_cubes
from torch import Tensor

from multidiff.errors import InputError

REACH = 1.1
"""Half a side of the cube: a tenth more than normalised shapes reach, so that surfaces close inside of it."""

COARSEST = 24
"""Fewest cells along a side of the first grid of `evaluate`."""

SLACK = 1.5
"""Factor on the distance at which `evaluate` refines, since learned distances are not exact."""

CLEAR = 1e-3
"""Part of a cell's side within which vertices are kept away from nodes, where triangles would degenerate."""

RESOLUTIONS = (16, 1024)
"""Fewest and most nodes along a side."""

Field = Callable[[Tensor], Tensor]
"""From points ``(N, 3)`` to values ``(N,)``."""


def check_resolution(resolution: int) -> None:
    """Refuse a number of nodes along a side that is none of `RESOLUTIONS`."""
    low, high = RESOLUTIONS
    if type(resolution) is not int or not low <= resolution <= high:
        raise InputError(f"resolution is {low} to {high} nodes along a side, got {resolution!r}")


def side(resolution: int) -> float:
    """Length of a side of a cell."""
    return 2 * REACH / (resolution - 1)


def evaluate(field: Field, resolution: int, truncation: float, like: Tensor) -> Tensor:
    """The volume of a field of signed distances, which is asked only near its zeros.

    The field is evaluated on a coarse grid. A cell is refined if one of its corners may be within the cell's diagonal
    of a zero, or if the signs of its corners differ; elsewhere, values are interpolated.

    Args:
        field: distances, negative inside, clamped to ``truncation``.
        resolution: R, nodes along a side.
        truncation: largest distance that the field tells.
        like: a tensor of the device and type of the points.

    Returns:
        ``(R, R, R)``.
    """
    stride = 1
    while (resolution - 1) // (2 * stride) >= COARSEST and 2 * stride * _near(resolution) < truncation:
        stride *= 2
    count = -(-(resolution - 1) // stride) + 1
    values = field(_nodes(torch.cartesian_prod(*3 * [torch.arange(count)]), stride, resolution, like))
    values = values.reshape(3 * [count])
    while stride > 1:
        active = _active(values, stride * _near(resolution))
        stride //= 2
        finer = 3 * [2 * len(values) - 1]
        values = F.interpolate(values[None, None], finer, mode="trilinear", align_corners=True)[0, 0]
        count = -(-(resolution - 1) // stride) + 1
        values = values[:count, :count, :count].contiguous()
        places = _refined(active)[:count, :count, :count].nonzero()
        if len(places):
            values[tuple(places.T)] = field(_nodes(places, stride, resolution, like)).to(values)
    return values


def to_mesh(volume: np.ndarray) -> trimesh.Trimesh:
    """The zero level set of a volume ``(R, R, R)`` of finite values, watertight and oriented outwards.

    The border counts as outside. If nothing is inside, the node of the lowest value is.

    Lewiner et al. (2003), https://doi.org/10.1080/10867651.2003.10487582.
    """
    cell = side(len(volume))
    inner = np.clip(volume[1:-1, 1:-1, 1:-1], -REACH, REACH)
    if not (inner < 0).any():
        inner[np.unravel_index(inner.argmin(), inner.shape)] = -cell
    field = np.pad(inner.astype(np.float32), 1, constant_values=cell)
    least = CLEAR * cell
    field = np.where(np.abs(field) < least, np.where(field < 0, -least, least), field)
    vertices, faces, *_ = marching_cubes(field, 0.0, spacing=3 * [cell])
    return trimesh.Trimesh(vertices - REACH, faces, process=False)


def _near(resolution: int) -> float:
    """Distance from a corner of a cell of the finest grid within which there may be a zero in the cell."""
    return SLACK * 3**0.5 * side(resolution) / 2


def _nodes(places: Tensor, stride: int, resolution: int, like: Tensor) -> Tensor:
    """Coordinates of nodes ``(N, 3)`` of the grid that has every ``stride``-th node."""
    return places.to(like) * (stride * side(resolution)) - REACH


def _active(values: Tensor, near: float) -> Tensor:
    """Which cells are refined, ``(n - 1, n - 1, n - 1)``, by the values at the nodes of a grid, ``(n, n, n)``."""
    grid = values[None, None]
    nearest, low, high = -F.max_pool3d(-grid.abs(), 2, 1), -F.max_pool3d(-grid, 2, 1), F.max_pool3d(grid, 2, 1)
    return ((nearest < near) | ((low < 0) & (high >= 0)))[0, 0]


def _refined(active: Tensor) -> Tensor:
    """Nodes of the grid of half the spacing that belong to the ``active`` cells: ``(n, n, n)`` to ``2 n + 1``."""
    spread = F.interpolate(active[None, None].float(), scale_factor=2)
    return F.max_pool3d(F.pad(spread, 6 * [1]), 2, 1)[0, 0] > 0
