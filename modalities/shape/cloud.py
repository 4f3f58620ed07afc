"""A point cloud as a value, and the two scales it is known in: that of its maker and that of a network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from multidiff.errors import InputError

CHANNELS = {3: "points", 6: "points and normals", 9: "points, normals and colours"}
"""C of the tensors ``(C, N)``, and what the channels are."""

NormalisationKind = Literal["bounding_box", "unit_sphere", "none"]
"""How shapes of all sizes come to one size; `Normalisation.of` says what each does."""


@dataclass(frozen=True)
class PointCloud:
    """Points of a surface. The y axis points up.

    Attributes:
        points: ``(N, 3)`` in float32.
        normals: unit vectors that point out of the solid, ``(N, 3)`` in float32, or None.
        colours: red, green and blue from 0 to 1, ``(N, 3)`` in float32, or None.
        metadata: where it came from.

    Raises:
        InputError: there is no point, a value is not finite, or the arrays do not fit each other.
    """

    points: np.ndarray
    normals: np.ndarray | None = None
    colours: np.ndarray | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

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
        """The points at ``rows``, with what belongs to them."""
        normals, colours = (None if values is None else values[rows] for values in (self.normals, self.colours))
        return PointCloud(self.points[rows], normals, colours, self.metadata)

    def rows(self, channels: int) -> np.ndarray:
        """Points, normals and colours side by side, ``(N, channels)``; colours from -1 to 1.

        Raises:
            InputError: the cloud lacks normals or colours that ``channels`` asks for.
        """
        check_channels(channels)
        columns = [self.points]
        if channels >= 6:
            columns.append(_given(self.normals, "normals", channels))
        if channels == 9:
            columns.append(2 * _given(self.colours, "colours", channels) - 1)
        return np.concatenate(columns, axis=1)

    def upright(self, up: str) -> "PointCloud":
        """The cloud, whose axis ``up`` points up, turned so that y does.

        Raises:
            InputError: ``up`` is neither "y" nor "z".
        """
        turn = to_up(up).T
        normals = None if self.normals is None else self.normals @ turn.T
        return PointCloud(self.points @ turn.T, normals, self.colours, self.metadata)

    @classmethod
    def from_rows(cls, rows: np.ndarray) -> "PointCloud":
        """The inverse of `rows` for any finite values: normals are brought to length 1, colours clamped."""
        check_channels(rows.shape[1])
        normals, colours = None, None
        if rows.shape[1] >= 6:
            lengths = np.linalg.norm(rows[:, 3:6], axis=1, keepdims=True)
            normals = np.where(lengths > 1e-6, rows[:, 3:6] / np.maximum(lengths, 1e-6), [0.0, 1.0, 0.0])
        if rows.shape[1] == 9:
            colours = np.clip((rows[:, 6:] + 1) / 2, 0, 1)
        return cls(rows[:, :3], normals, colours)


def to_up(up: str) -> np.ndarray:
    """The rotation, ``(3, 3)``, from y up, as shapes are here, to ``up``: "y" or "z"."""
    turns = {"y": [[1, 0, 0], [0, 1, 0], [0, 0, 1]], "z": [[1, 0, 0], [0, 0, -1], [0, 1, 0]]}
    if up not in turns:
        raise InputError(f"the axis that points up is one of {', '.join(turns)}, not {up!r}")
    return np.array(turns[up], dtype=float)


def check_channels(channels: int) -> None:
    """Refuse a number of channels that is not one of `CHANNELS`."""
    if channels not in CHANNELS:
        choices = ", ".join(f"{number} ({what})" for number, what in CHANNELS.items())
        raise InputError(f"modality.channels of a shape is one of {choices}, not {channels}")


def _given(values: np.ndarray | None, name: str, channels: int) -> np.ndarray:
    if values is None:
        raise InputError(f"{channels} channels are {CHANNELS[channels]}, and this cloud has no {name}")
    return values


@dataclass(frozen=True)
class Normalisation:
    """``(p - centre) / scale``, and back.

    Attributes:
        centre: ``(3,)``.
        scale: a length above 0.
    """

    centre: np.ndarray
    scale: float

    @classmethod
    def of(cls, points: np.ndarray, kind: NormalisationKind) -> "Normalisation":
        """The normalisation of one shape by its vertices or points, ``(N, 3)``.

        ``bounding_box`` puts the middle of the bounding box at the origin and its longest side to 2; ``unit_sphere``
        puts the same middle there and the farthest point at distance 1; ``none`` leaves all as it is, which is for data
        that are normalised together, as PointFlow's are.

        Raises:
            InputError: the points coincide, or there is no such kind.
        """
        if kind not in get_args(NormalisationKind):
            choices = ", ".join(get_args(NormalisationKind))
            raise InputError(f"modality.normalisation is one of {choices}, not {kind!r}")
        if kind == "none":
            return cls(np.zeros(3), 1.0)
        low, high = points.min(axis=0).astype(float), points.max(axis=0).astype(float)
        centre = (low + high) / 2
        farthest = np.linalg.norm(points - centre, axis=1).max()
        scale = float((high - low).max() / 2 if kind == "bounding_box" else farthest)
        if not scale > 0:
            raise InputError("all its points coincide, so that it has no size")
        return cls(centre, scale)

    def apply(self, points: np.ndarray) -> np.ndarray:
        """``(N, 3)`` from the maker's scale to the common one."""
        return (points - self.centre) / self.scale

    def undo(self, points: np.ndarray) -> np.ndarray:
        """The inverse of `apply`."""
        return points * self.scale + self.centre


@dataclass(frozen=True)
class Scaling:
    """Each channel less its mean, over its deviation: what the network sees. The statistics travel with the model.

    Attributes:
        mean: of each channel, C numbers.
        deviation: of each channel, C numbers above 0.
    """

    mean: Sequence[float]
    deviation: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.deviation) or not all(value > 0 for value in self.deviation):
            raise InputError(
                f"scaling needs a mean and a deviation above 0 a channel, got {self.mean}, {self.deviation}"
            )

    @classmethod
    def of(cls, rows: np.ndarray) -> "Scaling":
        """The statistics of ``rows``, ``(N, C)``, rounded to what a config shows.

        The three axes of a vector share one deviation, so that no direction is stretched.
        """
        deviation = rows.std(axis=0).reshape(-1, 3)
        shared = np.sqrt((deviation**2).mean(axis=1)).clip(min=1e-3).repeat(3)
        return cls(*([round(float(value), 4) for value in values] for values in (rows.mean(axis=0), shared)))

    def tensor(self, rows: np.ndarray) -> Tensor:
        """``(N, C)`` to a float32 tensor ``(C, N)``."""
        return torch.from_numpy(np.ascontiguousarray(((rows - self.mean) / self.deviation).T, dtype=np.float32))

    def rows(self, x: Tensor) -> np.ndarray:
        """The inverse of `tensor`."""
        return x.detach().cpu().double().numpy().T * self.deviation + self.mean
