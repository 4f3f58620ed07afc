"""Proportions and counts of furniture, measured on the points of its surface and their normals."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from sklearn.cluster import DBSCAN

from modalities.shape.cloud import PointCloud

FACING = 0.8
"""Cosine above which a normal counts as along an axis."""

Points = np.ndarray
Measures = dict[str, float]


@dataclass(frozen=True)
class Shape:
    """Points around the y axis, from height 0, with their normals.

    Attributes:
        points: ``(N, 3)``.
        normals: ``(N, 3)``.
        sides: of the bounding box, without the outermost points.
    """

    points: Points
    normals: Points
    sides: Points

    @classmethod
    def of(cls, cloud: PointCloud) -> "Shape":
        """A generated or real shape."""
        assert cloud.normals is not None
        low, high = np.quantile(cloud.points, (0.005, 0.995), axis=0)
        middle = (low + high) / 2
        return cls(cloud.points - (middle[0], low[1], middle[2]), cloud.normals, high - low)

    @property
    def radii(self) -> Points:
        """Distances from the y axis."""
        return np.hypot(self.points[:, 0], self.points[:, 2])

    def facing(self, axis: int, sign: int) -> Points:
        """Which normals point along an axis."""
        return sign * self.normals[:, axis] > FACING


def bed(shape: Shape) -> Measures:
    x, y, z = shape.points.T
    width, height, length = shape.sides
    mattress = _median(y[shape.facing(1, 1) & (z > -0.2 * length)], height / 2)
    pillows = (z > -0.42 * length) & (z < -0.25 * length) & (y > mattress + 0.02 * length)
    frame = _median(y[shape.facing(1, -1) & (y > 0.05 * height)], mattress)
    below = (y > 0.02 * height) & (y < 0.8 * frame) & (np.abs(x) > 0.3 * width)
    ends = (z > 0.35 * length) | ((z > -0.457 * length) & (z < -0.35 * length))
    corners = {(side > 0, end > 0) for side, end in shape.points[below & ends][:, [0, 2]]}
    return {
        "width": width / length,
        "pillows": 1 if np.mean(np.abs(x[pillows]) < 0.06 * width) > 0.04 else 2,
        "headboard": (height - mattress) / length,
        "legs": len(corners),
    }


def bottle(shape: Shape) -> Measures:
    y, radii, height = shape.points[:, 1], shape.radii, shape.sides[1]
    radius = float(np.quantile(radii, 0.98))
    body = float(np.quantile(y[radii > 0.95 * radius], 0.98))
    upright = (np.abs(shape.normals[:, 1]) < 0.35) & (radii < 0.6 * radius)
    neck = _median(radii[upright & (y < 0.94 * height)], radius)
    tube = y[upright & (radii < 1.1 * neck)]
    bottom = float(np.quantile(tube, 0.005)) if len(tube) else height
    slope = (radii > 1.1 * neck) & (radii < 0.95 * radius) & (y > body / 2) & (shape.normals[:, 1] > 0.2)
    flat = np.hypot(shape.normals[:, 0], shape.normals[:, 2]) / np.maximum(shape.normals[:, 1], 0.1)
    steepness = _median(1 / np.maximum(flat[slope], 0.1), 0.0)
    return {
        "height": body / radius,
        "neck length": (height - bottom) / radius,
        "neck width": neck / radius,
        "shoulders": (1 - neck / radius) / max(steepness, 0.1),
    }


def chair(shape: Shape) -> Measures:
    x, y, z = shape.points.T
    width, height, depth = shape.sides
    upward = y[shape.facing(1, 1)]
    seat = _median(upward[(upward > 0.2 * height) & (upward < 0.8 * height)], height / 2)
    under = _median(y[shape.facing(1, -1) & (y > 0.5 * seat) & (y < seat)], seat)
    back = height - seat
    rear = (z < -0.36 * depth) & (y > seat + back / 4) & (y < height - back / 4)
    legs = (y > 0.1 * seat) & (y < 0.75 * seat)
    corners = [legs & (a * x > 0) & (b * z > 0) for a in (-1, 1) for b in (-1, 1)]
    widths = [np.ptp(across[corner]) for corner in corners if corner.sum() > 4 for across in (x, z)]
    return {
        "back": back / seat,
        "slats": _groups(x[rear], 0.055 * width),
        "arms": float(np.mean((z > -0.25 * depth) & (y > seat + 0.04 * height))),
        "leg width": _median(np.array(widths)) / width,
        "seat thickness": (seat - under) / width,
        "seat width": width / depth,
    }


def lamp(shape: Shape) -> Measures:
    y, radii, height = shape.points[:, 1], shape.radii, shape.sides[1]
    shade = float(np.quantile(radii[y > height / 2], 0.98))
    upright = np.abs(shape.normals[:, 1]) < 0.5
    pole = radii[upright & (y > 0.1 * height) & (radii < 0.3 * shade)]
    foot = radii[y < 0.1 * height]
    return {
        "height": height / shade,
        "pole": _median(pole) / shade,
        "foot": float(np.quantile(foot, 0.95)) / shade if len(foot) else 0.0,
    }


def mug(shape: Shape) -> Measures:
    radius = shape.sides[2] / 2
    x = shape.points[:, 0] + shape.sides[0] / 2 - radius  # from the axis of the body
    handle = shape.points[x > 1.12 * radius]
    if len(handle) < 5:
        return {"height": shape.sides[1] / radius, "handle size": 0.0, "handle thickness": 0.0}
    _, tall, thick = np.subtract(*np.quantile(handle, (0.995, 0.005), axis=0)) / 2
    reach = (np.quantile(x, 0.998) - radius) / 2
    return {
        "height": shape.sides[1] / radius,
        "handle size": ((tall + reach) / 2 - thick) / radius,
        "handle thickness": thick / radius,
    }


def shelf(shape: Shape) -> Measures:
    width, height, depth = shape.sides
    return {
        "height": height / width,
        "boards": _groups(shape.points[shape.facing(1, 1), 1], 0.04 * height),
        "back": float(np.mean(shape.facing(2, -1))),
        "width": width / depth,
        "thickness": _ends(shape) / width,
        "depth": depth / height,
    }


def sofa(shape: Shape) -> Measures:
    x, y, z = shape.points.T
    width, height, depth = shape.sides
    seat = _median(y[shape.facing(1, 1) & (np.abs(x) < 0.3 * width) & (z > -0.15 * depth)], height / 2)
    return {
        "width": width / depth,
        "legs": _median(y[shape.facing(1, -1)]) / height,
        "back": (height - seat) / seat,
        "arms": _ends(shape) / depth,
        "depth": depth / seat,
    }


def table(shape: Shape) -> Measures:
    x, y, z = np.abs(shape.points.T)
    width, height, depth = shape.sides
    top, under = (_median(y[shape.facing(1, sign) & (y > height / 2)], height) for sign in (1, -1))
    plate = y > under - 0.01 * height
    legs = shape.points[(y > 0.15 * height) & (y < min(0.75 * height, under - 0.02 * height))]
    return {
        "height": height / width,
        "form": float(np.mean((x[plate] > 0.4 * width) & (z[plate] > 0.4 * depth))),
        "legs": _clusters(legs[:, [0, 2]], 0.09 * width),
        "thickness": (top - under) / width,
    }


MEASURES: Mapping[str, Callable[[Shape], Measures]] = {
    measure.__name__: measure for measure in (bed, bottle, chair, lamp, mug, shelf, sofa, table)
}


def _median(values: Points, otherwise: float = 0.0) -> float:
    return float(np.median(values)) if len(values) else otherwise


def _ends(shape: Shape) -> float:
    """The thickness of the sides, left and right, by their inner faces."""
    x, half = shape.points[:, 0], shape.sides[0] / 2
    inner = [sign * _median(x[shape.facing(0, -sign) & (sign * x > 0.4 * half)], sign * half) for sign in (-1, 1)]
    return float(half - np.mean(inner))


def _groups(values: Points, gap: float, least: int = 4) -> int:
    """How many groups of numbers there are that are more than ``gap`` apart."""
    ordered = np.sort(values)
    parts = np.split(ordered, np.flatnonzero(np.diff(ordered) > gap) + 1)
    return sum(len(part) >= least for part in parts)


def _clusters(places: Points, reach: float, least: int = 4) -> int:
    """How many clusters of points ``(N, 2)`` there are."""
    if len(places) < least:
        return 0
    return len(set(DBSCAN(eps=reach, min_samples=least).fit_predict(places)) - {-1})
