"""What the core must be told about a kind of data, and how installed kinds are found."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from multidiff.errors import InputError
from multidiff.set_metric import SetMeasure

Artifact = TypeVar("Artifact")
"""What a person wants: a PIL image, an audio clip, a mesh."""

Given_contra = TypeVar("Given_contra", contravariant=True)


class Exporter(Protocol[Given_contra]):
    """Writes an artifact to a path, and reports what was written; an `InputError` says why it could not."""

    def __call__(self, artifact: Given_contra, path: Path, metadata: Mapping[str, Any], /) -> dict[str, Any]: ...


class Modality(ABC, Generic[Artifact]):
    """One kind of data: its files, and its place in tensor space.

    Attributes:
        name: as in configs and entry points.
        suffixes: of the files that ``read`` accepts, lower case; the first is what ``write`` defaults to.
        channels: C of the tensors ``(C, *size)``.
        edge: positions at either end of the last axis of a sample that are unlike those within, see `extension`.
        period: positions after which what a place in a sample means comes again, see `extension`.
        turns: whether there is another side to see, which ``turntable`` shows.
        features: the option of the group ``features`` that evaluation takes by default.
    """

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    channels: int
    edge: int = 0
    period: int = 1
    turns: ClassVar[bool] = False
    features: ClassVar[str | None] = None

    @property
    def written(self) -> tuple[str, ...]:
        """Suffixes of the files that ``write`` makes, which may be fewer than ``read`` accepts."""
        return self.suffixes

    @abstractmethod
    def read(self, path: Path) -> Artifact:
        """Read a file. An `InputError` names it and says why it cannot be used."""

    @abstractmethod
    def write(self, artifact: Artifact, path: Path, metadata: Mapping[str, Any]) -> None:
        """Write a file in the format of its suffix, with ``metadata`` inside it as JSON."""

    def exporter(self, suffix: str, settings: Mapping[str, Any]) -> Exporter[Artifact]:
        """What writes artifacts for other programs as files with ``suffix``; by default ``write``.

        Raises:
            InputError: the suffix is not written, or a setting is unknown or cannot be used.
        """
        if settings:
            raise InputError(f"{', '.join(settings)}: not a setting by which the modality {self.name} exports")
        if suffix not in self.written:
            raise InputError(f"{self.name}s are not written as {suffix}; they are as {', '.join(self.written)}")

        def export(artifact: Artifact, path: Path, metadata: Mapping[str, Any]) -> dict[str, Any]:
            self.write(artifact, path, metadata)
            return {"file": path.name}

        return export

    def turntable(self, artifacts: Sequence[Artifact]) -> list[Image]:
        """The frames of one turn around the artifacts; none if they have no other side."""
        return []

    @abstractmethod
    def to_tensor(self, artifact: Artifact) -> Tensor:
        """``(C, *size)`` in float32, at about unit scale."""

    @abstractmethod
    def to_artifact(self, x: Tensor) -> Artifact:
        """The inverse of ``to_tensor``, for any finite values."""

    def sized(self, artifact: Artifact, shape: tuple[int, ...]) -> Tensor:
        """``to_tensor``, brought to ``shape`` where that takes nothing away.

        Raises:
            InputError: it has another size.
        """
        x = self.to_tensor(artifact)
        if x.shape != shape:
            raise InputError(f"this model makes samples of shape {shape}, and the one given is {tuple(x.shape)}")
        return x

    def resized(self, shape: tuple[int, ...], amount: int) -> tuple[int, ...]:
        """``shape`` for samples of another size than the model was trained on, ``amount`` in the unit of the modality.

        Raises:
            InputError: there are none.
        """
        raise InputError(f"a model of the modality {self.name} makes samples of the size that it was trained on")

    def mask(self, shape: tuple[int, ...], *region: Any) -> Tensor:
        """True in the part of a tensor of ``shape`` that ``region`` says; here, an array that broadcasts to it.

        Raises:
            ValueError: it says none.
        """
        (array,) = region
        return torch.from_numpy(np.broadcast_to(np.array(array, dtype=bool), shape).copy())

    def region(self, text: str) -> tuple[Any, ...]:
        """What ``mask`` takes, as told on a command line; here, a file that holds what is true where it is not 0."""
        return (self.read(Path(text)),)

    def extension(self, artifact: Artifact, amount: float) -> tuple[Tensor, int]:
        """The beginning of every artifact that goes on where this one ends, and the length of those ``amount`` longer.

        Both are of tensors, whose last axis grows; ``amount`` is in positions here.
        """
        x = self.to_tensor(artifact)
        return x, x.shape[-1] + round(amount)

    @abstractmethod
    def preview(self, artifacts: Sequence[Artifact]) -> Image:
        """One picture by which a person can judge the samples."""

    def comparable(self, artifact: Artifact, shape: tuple[int, ...], *, foreign: bool) -> Artifact:
        """An artifact from a file, as data of ``shape`` are, to be scored beside them.

        Args:
            artifact: as it was read.
            shape: of the data.
            foreign: whether something else than this package made it.

        Raises:
            InputError: it is of another shape; a resize would count in the scores.
        """
        own = tuple(self.to_tensor(artifact).shape)
        if own != tuple(shape):
            raise InputError(
                f"has the shape {own} and the data {tuple(shape)}: make them alike; a resize of ours would count"
            )
        return artifact

    def set_measure(self) -> SetMeasure | None:
        """What scores sets of samples themselves, beside features; by default nothing does."""
        return None

    def folder(self, root: Path, shape: Sequence[int]) -> dict[str, Any]:
        """The config of a data set of the files below ``root``, as samples of ``shape``.

        Raises:
            InputError: the modality has none.
        """
        raise InputError(f"{root}: {self.name}s are not evaluated against a folder; name a data config")


def modality_names() -> list[str]:
    """The modalities that installed packages offer."""
    return sorted({entry.name for entry in entry_points(group="multidiff.modalities")})


def modality_class(name: str) -> type[Modality[Any]]:
    """The modality called ``name``.

    Raises:
        InputError: no installed package offers it.
    """
    found = entry_points(group="multidiff.modalities", name=name)
    if not found:
        raise InputError(f"no modality {name!r} is installed; there are: {', '.join(modality_names())}")
    return next(iter(found)).load()
