"""Watertight solids with an inside test, so that the surface of a union can be sampled without mesh booleans.

A sample of the union is a sample of its parts without the points inside another part. It is exact, and equal on all
machines, whether manifold3d is installed or not. The y axis points up.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import trimesh

from modalities.shape.cloud import PointCloud
from modalities.shape.files import sample_surface

Colour = tuple[float, float, float]
"""Red, green and blue from 0 to 1."""

SIDES = 24
"""Sides of the polygons that approximate circles."""

NUDGE = 1e-5
"""Distance from the surface, in metres, at which points are tested: below all details and above rounding errors."""


@dataclass(frozen=True)
class Solid:
    """A watertight mesh with an inside test.

    Attributes:
        mesh: closed, with outward faces.
        contains: from points ``(N, 3)`` to whether each is inside, ``(N,)``.
        colour: of the whole surface.
    """

    mesh: trimesh.Trimesh
    contains: Callable[[np.ndarray], np.ndarray]
    colour: Colour

    def moved(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> "Solid":
        """The solid, translated."""
        return self._placed(np.eye(3), np.array([x, y, z]))

    def turned(self, axis: str, degrees: float) -> "Solid":
        """The solid, rotated about an axis through the origin: "x", "y" or "z"."""
        angle, direction = np.radians(degrees), [float(axis == name) for name in "xyz"]
        return self._placed(trimesh.transformations.rotation_matrix(angle, direction)[:3, :3], np.zeros(3))

    def _placed(self, rotation: np.ndarray, shift: np.ndarray) -> "Solid":
        mesh = trimesh.Trimesh(self.mesh.vertices @ rotation.T + shift, self.mesh.faces, process=False)
        return Solid(mesh, lambda points: self.contains((points - shift) @ rotation), self.colour)


def box(size: Sequence[float], colour: Colour) -> Solid:
    """A box around the origin with sides ``size`` along x, y and z."""
    half = np.asarray(size) / 2
    return Solid(trimesh.creation.box(size), lambda p: (np.abs(p) < half).all(axis=1), colour)


def lathe(profile: Sequence[tuple[float, float]], colour: Colour) -> Solid:
    """The solid of revolution of a closed outline of (radius, height) about the y axis.

    Args:
        profile: corners counter-clockwise; the first and the last lie both on the axis, or both off it.
        colour: of the surface.
    """
    outline = np.asarray(profile, dtype=float)
    ends = outline if outline[0, 0] == 0 else np.vstack([outline, outline[:1]])
    mesh = trimesh.creation.revolve(ends, sections=SIDES)
    mesh.vertices = mesh.vertices[:, [1, 2, 0]]  # from z to y; a cyclic permutation of the axes is a rotation
    flat = np.cos(np.pi / SIDES)  # distance from the axis to a side of the polygon of radius 1

    def contains(points: np.ndarray) -> np.ndarray:
        sector = np.mod(np.arctan2(points[:, 0], points[:, 2]), 2 * np.pi / SIDES) - np.pi / SIDES
        radius = np.hypot(points[:, 0], points[:, 2]) * np.cos(sector) / flat
        return within(np.stack([radius, points[:, 1]], axis=1), outline)

    return Solid(mesh, contains, colour)


def within(points: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """Whether each of the points ``(N, 2)`` lies inside a polygon ``(K, 2)``, by the parity of crossings."""
    inside = np.zeros(len(points), dtype=bool)
    x, y = points.T
    for (x0, y0), (x1, y1) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return inside


def cylinder(radius: float, height: float, colour: Colour) -> Solid:
    """A cylinder around the y axis, from height 0 to ``height``."""
    return lathe([(0, 0), (radius, 0), (radius, height), (0, height)], colour)


def ring(radius: float, thickness: float, colour: Colour) -> Solid:
    """A torus around the z axis: the centre of the tube at ``radius``, with the tube radius ``thickness``."""
    mesh = trimesh.creation.torus(radius, thickness, SIDES, SIDES // 2)

    def contains(points: np.ndarray) -> np.ndarray:
        return np.hypot(np.hypot(points[:, 0], points[:, 1]) - radius, points[:, 2]) < thickness

    return Solid(mesh, contains, colour)


def sample_union(parts: Sequence[Solid], count: int, random: np.random.Generator) -> PointCloud:
    """``count`` points on the surface of the union, uniform by area, with normals and colours."""
    areas = np.array([part.mesh.area for part in parts])
    found: list[PointCloud] = []
    while sum(map(len, found)) < count:
        shares = random.multinomial(count + count // 4, areas / areas.sum())
        for i, (part, share) in enumerate(zip(parts, shares, strict=True)):
            if not share:
                continue
            cloud = _coloured_sample(part, int(share), random)
            offset = NUDGE * cloud.rows(6)[:, 3:]
            above, below = cloud.points + offset, cloud.points - offset
            hidden = np.zeros(len(cloud), dtype=bool)
            for j, other in enumerate(parts):
                if j != i:
                    hidden |= other.contains(above)
                if j < i:  # of coincident faces, that of the first part is kept
                    hidden |= other.contains(below)
            if not hidden.all():
                found.append(cloud[~hidden])
    rows = np.concatenate([cloud.rows(9) for cloud in found])
    return PointCloud.from_rows(random.permutation(rows)[:count])


def _coloured_sample(part: Solid, count: int, random: np.random.Generator) -> PointCloud:
    cloud = sample_surface(part.mesh, count, random, colours=False)
    return PointCloud(cloud.points, cloud.normals, np.tile(part.colour, (count, 1)))


def union(parts: Sequence[Solid]) -> trimesh.Trimesh:
    """The parts as one watertight mesh: their boolean union if manifold3d (extra ``mesh``) is installed.

    Without it, the parts are concatenated, and their surfaces intersect.
    """
    meshes = [part.mesh for part in parts]
    try:
        return trimesh.boolean.union(meshes, engine="manifold")
    except (ImportError, ValueError):
        return trimesh.util.concatenate(meshes)
