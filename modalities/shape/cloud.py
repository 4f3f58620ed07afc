"""Point clouds as values, and their normalisation to one size."""

from dataclasses import dataclass
from io import BytesIO
from typing import Literal, get_args

import numpy as np

from multidiff.errors import InputError

CHANNELS = {3: "points", 6: "points and normals", 9: "points, normals and colours"}
"""Number of channels of a data tensor ``(C, N)``, and what the channels are."""

ORIENTED = 6
"""Channels of points and normals: those that come first, and that a codec encodes."""

NormalisationKind = Literal["bounding_box", "unit_sphere", "none"]
"""How shapes of all sizes are brought to one size; see `Normalisation.of`."""


@dataclass(frozen=True)
class PointCloud:
    """Points on a surface. The y axis points up.

    Attributes:
        points: ``(N, 3)`` in float32.
        normals: unit vectors that point out of the solid, ``(N, 3)`` in float32, or None.
        colours: red, green and blue from 0 to 1, ``(N, 3)`` in float32, or None.

    Raises:
        InputError: there is no point, a value is not finite, or the arrays have different lengths.
    """

    points: np.ndarray
    normals: np.ndarray | None = None
    colours: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name in ("points", "normals", "colours"):
            if getattr(self, name) is None:
                continue
            values = np.array(getattr(self, name), dtype=np.float32)
            if values.ndim != 2 or values.shape[1] != 3 or len(values) != len(self.points):
                raise InputError(f"a cloud of {len(self.points)} points cannot have {name} of shape {values.shape}")
            if not np.isfinite(values).all():
                raise InputError(f"the {name} of a cloud are not all finite")
            values.setflags(write=False)
            object.__setattr__(self, name, values)
        if not len(self.points):
            raise InputError("a cloud needs at least one point")

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, rows: np.ndarray | slice) -> "PointCloud":
        """The points at ``rows``, with their normals and colours."""
        normals, colours = (None if values is None else values[rows] for values in (self.normals, self.colours))
        return PointCloud(self.points[rows], normals, colours)

    def _repr_png_(self) -> bytes:
        from modalities.shape.preview import render  # noqa: PLC0415  which imports this module

        picture = BytesIO()
        render(self, size=320).save(picture, format="PNG")
        return picture.getvalue()

    def rows(self, channels: int) -> np.ndarray:
        """Points, normals and colours side by side, ``(N, channels)`` in float32; colours from -1 to 1.

        Raises:
            InputError: the cloud lacks normals or colours that ``channels`` needs.
        """
        check_channels(channels)
        columns = [self.points]
        if channels >= 6:
            columns.append(self._required(self.normals, "normals", channels))
        if channels == 9:
            columns.append(2 * self._required(self.colours, "colours", channels) - 1)
        return np.concatenate(columns, axis=1)

    @classmethod
    def from_rows(cls, rows: np.ndarray) -> "PointCloud":
        """The inverse of `rows` for any finite values: normals are scaled to length 1, colours are clamped."""
        check_channels(rows.shape[1])
        normals, colours = None, None
        if rows.shape[1] >= 6:
            lengths = np.linalg.norm(rows[:, 3:6], axis=1, keepdims=True)
            normals = np.where(lengths > 1e-6, rows[:, 3:6] / np.maximum(lengths, 1e-6), [0.0, 1.0, 0.0])
        if rows.shape[1] == 9:
            colours = np.clip((rows[:, 6:] + 1) / 2, 0, 1)
        return cls(rows[:, :3], normals, colours)

    def upright(self, up: str) -> "PointCloud":
        """The cloud rotated from the axis ``up`` pointing up to y pointing up.

        Raises:
            InputError: ``up`` is neither "y" nor "z".
        """
        turn = to_up(up).T
        normals = None if self.normals is None else self.normals @ turn.T
        return PointCloud(self.points @ turn.T, normals, self.colours)

    def _required(self, values: np.ndarray | None, name: str, channels: int) -> np.ndarray:
        if values is None:
            fits = 3 if self.normals is None else 6
            raise InputError(
                f"has no {name}, and {channels} channels are {CHANNELS[channels]}: set modality.channels={fits}"
            )
        return values


@dataclass(frozen=True)
class Normalisation:
    """``(p - centre) / scale``.

    Attributes:
        centre: ``(3,)``.
        scale: a length above 0.
    """

    centre: np.ndarray
    scale: float

    @classmethod
    def of(cls, points: np.ndarray, kind: NormalisationKind) -> "Normalisation":
        """The normalisation of one shape by its points, ``(N, 3)``.

        ``bounding_box`` moves the centre of the bounding box to the origin and scales its longest side to 2;
        ``unit_sphere`` moves the same centre and scales the largest distance from it to 1; ``none`` changes nothing,
        for data that are normalised together, such as PointFlow's.

        Raises:
            InputError: all points coincide, or the kind is unknown.
        """
        check_normalisation(kind)
        if kind == "none":
            return cls(np.zeros(3), 1.0)
        low, high = points.min(axis=0).astype(float), points.max(axis=0).astype(float)
        centre = (low + high) / 2
        farthest = np.linalg.norm(points - centre, axis=1).max()
        scale = float((high - low).max() / 2 if kind == "bounding_box" else farthest)
        if not scale > 0:
            raise InputError("all points coincide, so the shape has no size")
        return cls(centre, scale)

    def __call__(self, cloud: PointCloud) -> PointCloud:
        """The cloud with normalised points."""
        return PointCloud((cloud.points - self.centre) / self.scale, cloud.normals, cloud.colours)


def to_up(up: str) -> np.ndarray:
    """The rotation ``(3, 3)`` from y up, as in `PointCloud`, to ``up``: "y" or "z".

    Raises:
        InputError: another axis.
    """
    turns = {"y": [[1, 0, 0], [0, 1, 0], [0, 0, 1]], "z": [[1, 0, 0], [0, 0, -1], [0, 1, 0]]}
    if up not in turns:
        raise InputError(f"up is one of {', '.join(turns)}, not {up!r}")
    return np.array(turns[up], dtype=float)


def check_channels(channels: int) -> None:
    """Refuse a number of channels that is not in `CHANNELS`."""
    if channels not in CHANNELS:
        choices = ", ".join(f"{number} ({what})" for number, what in CHANNELS.items())
        raise InputError(f"modality.channels of a shape is one of {choices}, not {channels}")


def check_normalisation(kind: str) -> None:
    """Refuse a kind of normalisation that does not exist."""
    if kind not in get_args(NormalisationKind):
        raise InputError(f"modality.normalisation is one of {', '.join(get_args(NormalisationKind))}, not {kind!r}")
