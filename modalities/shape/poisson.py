"""Spectral Poisson reconstruction: oriented points to a function on a grid, positive inside, zero on the surface.

Peng et al. (2021), "Shape As Points", https://arxiv.org/abs/2106.03452, after Kazhdan et al. (2006), Poisson surface
reconstruction; a local correction of the iso-level takes the role of the screening of Kazhdan and Hoppe (2013).
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

MARGIN = 1.3
"""Side of the periodic box relative to the longest side of the points, to separate the periodic copies."""


@dataclass(frozen=True)
class Box:
    """The periodic cube.

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
        """Coordinates in voxels from the corner."""
        return ((points - self.corner) / self.voxel).astype(np.float32)

    def outside(self, voxels: np.ndarray) -> np.ndarray:
        """The inverse of `inside`."""
        return voxels * self.voxel + self.corner


def signed_field(points: Tensor, normals: Tensor, resolution: int, width: float) -> Tensor:
    """A function on the grid, positive inside, whose zero level set is the surface.

    The indicator ``chi`` solves ``laplacian(chi) = -div(V)``, where V are the normals, splatted to the grid and
    smoothed. Smoothing lowers ``chi`` on thin parts, so the iso-level is the local mean of ``chi`` at the points.

    Args:
        points: ``(N, 3)`` in voxels.
        normals: outward, ``(N, 3)``.
        resolution: R, voxels along a side.
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
    square[0, 0, 0] = 1  # the mean of chi is arbitrary
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
    """Flat indices and trilinear weights of the 8 voxels around each point, both ``(N, 8)``."""
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
    """A grid with ``values`` added at ``corners``, both ``(N, 8)``."""
    grid = torch.zeros(resolution**3, dtype=values.dtype)
    return grid.index_add(0, corners.reshape(-1), values.reshape(-1)).reshape(3 * [resolution])


def wave_vector(resolution: int) -> tuple[Tensor, Tensor, Tensor]:
    """Angular frequencies per voxel along each axis, in the layout of ``rfftn``."""
    full = 2 * torch.pi * torch.fft.fftfreq(resolution)
    half = 2 * torch.pi * torch.fft.rfftfreq(resolution)
    return full[:, None, None], full[None, :, None], half[None, None, :]


def inverse(transform: Tensor, resolution: int) -> Tensor:
    """The real grid of a transform of ``rfftn``."""
    return torch.fft.irfftn(transform, s=3 * [resolution])
