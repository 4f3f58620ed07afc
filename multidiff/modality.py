"""The modality contract: files, artifacts and data tensors of one kind, and pictures of them."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Generic, Protocol, TypeVar

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from multidiff.errors import InputError

Artifact = TypeVar("Artifact")
"""What a person wants: a PIL image, an audio clip, a mesh."""

Given_contra = TypeVar("Given_contra", contravariant=True)

File = Path | BinaryIO
"""A path, or an open file whose ``name`` says where it comes from, such as the member of a tar shard or an upload."""


def name_of(file: File) -> str:
    """The name of a file in messages."""
    return str(file) if isinstance(file, Path) else str(getattr(file, "name", None) or "the file")


def path_or_open(file: File | str) -> File:
    """``file``, or the path that a text gives."""
    return Path(file) if isinstance(file, str) else file


def expected(kind: type[Artifact], artifact: Any) -> Artifact:
    """``artifact`` where one of the class ``kind`` is expected.

    Raises:
        InputError: it is something else, such as the name of a file.
    """
    if not isinstance(artifact, kind):
        raise InputError(
            f"an artifact of class {kind.__name__} is needed, such as modality.read(PATH) returns, "
            f"got {type(artifact).__name__}"
        )
    return artifact


class Exporter(Protocol[Given_contra]):
    """Writes an artifact to a path and returns a report of the file; an `InputError` says why it could not."""

    def __call__(self, artifact: Given_contra, path: Path, metadata: Mapping[str, Any], /) -> dict[str, Any]: ...


class Preparation(ABC):
    """How the files of a folder, of shards or of a table become training samples of one shape.

    Attributes:
        shape: of the data tensors, ``(C, *size)``.
        suffixes: of the files that it takes, lower case, with their dots.
        companions: of further files that those refer to, such as textures.
        settings: everything that the result of `prepare` depends on beside the file; JSON.
        varies: whether samples have the shapes of their prepared arrays, in place of ``shape``.
    """

    shape: tuple[int, ...]
    varies: bool = False
    suffixes: tuple[str, ...]
    companions: tuple[str, ...] = ()
    settings: Mapping[str, Any]

    @cached_property
    def noted(self) -> list[Any]:
        """What `prepare` found worth a remark, one picklable entry each: files are prepared in several processes."""
        return []

    @abstractmethod
    def prepare(self, file: File) -> np.ndarray:
        """Decode a file, once; the array goes into the cache.

        Raises:
            InputError: naming the file, if it cannot be used.
        """

    @abstractmethod
    def sample(self, prepared: np.ndarray, random: np.random.Generator) -> Tensor:
        """Data ``(C, *size)`` from a prepared array; ``random`` decides crops, flips and other augmentation."""

    def samples_in(self, shape: Sequence[int]) -> int:
        """How many training samples a prepared array of ``shape`` counts as: several for a long sound."""
        return 1

    def fields(self, shape: Sequence[int]) -> dict[str, Any]:
        """Facts about a sample from a prepared array of ``shape``, by field, such as its duration in seconds."""
        return {}

    def remarks(self) -> Iterator[str]:
        """One line for each thing among `noted` that the person should know."""
        yield from ()

    def problems(self, shapes: np.ndarray) -> Iterator[str]:
        """What may spoil a training on prepared arrays of ``shapes``, ``(N, D)``, in lines with advice."""
        yield from ()


class Modality(ABC, Generic[Artifact]):
    """One kind of data.

    Attributes:
        name: as in configs.
        suffixes: of the files that `read` accepts, lower case; the first is what `write` defaults to.
        preparation: class that makes training samples of files; its keyword arguments, beside the modality, are
            settings of the data configs.
        features: option of the config group ``features`` that evaluation takes by default.
        set_metric: option of the config group ``set_metric`` that compares sets of artifacts, or None.
        turns: whether artifacts have another side, which `turntable` shows.
        viewer: by which a page shows an artifact: "picture", "player" (of sounds) or "solid" (a 3D view).
        export_choices: settings of `exporter` that a page asks for, and their values, the default first; none for a
            number above 0.
        file_settings: constructor arguments that concern the files that it writes, and not the data.
        for_few: what helps a training of few files, beside more of them; or None.
    """

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    preparation: ClassVar[type[Preparation] | None] = None
    features: ClassVar[str | None] = None
    set_metric: ClassVar[str | None] = None
    turns: ClassVar[bool] = False
    viewer: ClassVar[str] = "picture"
    export_choices: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    file_settings: ClassVar[tuple[str, ...]] = ()
    for_few: ClassVar[str | None] = None

    @property
    def exported(self) -> tuple[str, ...]:
        """Suffixes that `exporter` writes without further settings."""
        return self.written

    @property
    def written(self) -> tuple[str, ...]:
        """Suffixes of the files that `write` makes, which may be fewer than `read` accepts."""
        return self.suffixes

    @abstractmethod
    def read(self, file: File) -> Artifact:
        """Read a file, from a folder, a shard or an upload. An `InputError` names it and says what is wrong."""

    @abstractmethod
    def write(self, artifact: Artifact, path: Path, metadata: Mapping[str, Any]) -> None:
        """Write a file in the format of its suffix, with ``metadata`` inside it as JSON."""

    def metadata(self, path: Path) -> dict[str, Any]:
        """The metadata inside a file that `write` made; empty for other files and for formats with no place for it."""
        return {}

    @abstractmethod
    def to_data(self, artifact: Artifact) -> Tensor:
        """``(C, *size)`` in float32."""

    @abstractmethod
    def to_artifact(self, data: Tensor) -> Artifact:
        """The inverse of `to_data`, defined for any finite values."""

    def requested(self, artifact: Artifact, fields: Mapping[str, Any]) -> Artifact:
        """A generated artifact as its ``fields`` request it, such as a sound of so many seconds; by default, itself."""
        return artifact

    @abstractmethod
    def preview(self, artifacts: Sequence[Artifact]) -> Image:
        """One picture by which a person can judge the samples."""

    def describe(self, artifact: Artifact) -> str:
        """The size of an artifact in a few words; by default the shape of its data."""
        return " x ".join(map(str, self.to_data(artifact).shape))

    def turntable(self, artifacts: Sequence[Artifact]) -> list[Image]:
        """The frames of one turn around the artifacts; none if they have no other side."""
        return []

    def exporter(self, suffix: str, settings: Mapping[str, Any]) -> Exporter[Artifact]:
        """A writer of files with ``suffix`` for other programs; by default `write`.

        Raises:
            InputError: the suffix is not written, or a setting is unknown or cannot be used.
        """
        if settings:
            raise InputError(f"{', '.join(settings)}: not an export setting of the modality {self.name}")
        if suffix not in self.written:
            raise InputError(f"the modality {self.name} does not write {suffix}; it writes {', '.join(self.written)}")

        def export(artifact: Artifact, path: Path, metadata: Mapping[str, Any]) -> dict[str, Any]:
            self.write(artifact, path, metadata)
            return {"file": path.name}

        return export

    def fitted(self, artifact: Artifact, shape: tuple[int, ...]) -> Tensor:
        """`to_data` of an artifact, brought to ``shape`` where that loses nothing.

        Raises:
            InputError: the artifact has another size.
        """
        data = self.to_data(artifact)
        if data.shape != shape:
            raise InputError(f"this model generates samples of shape {shape}, and the one given is {tuple(data.shape)}")
        return data

    def resized(self, shape: tuple[int, ...], **settings: Any) -> tuple[int, ...]:
        """Data shape of samples of another size than the model was trained on, in the modality's own settings.

        Raises:
            InputError: a setting is unknown or cannot be used.
        """
        names, sizes = ", ".join(settings), ", ".join(self.sizes(shape)) or "none"
        raise InputError(
            f"{names}: neither a field of this model nor a setting of the modality {self.name}, which has: {sizes}"
        )

    def sizes(self, shape: tuple[int, ...]) -> dict[str, int]:
        """The settings of `resized` that give ``shape``, by name; pages have a control for each. None by default."""
        return {}

    def mask(self, shape: tuple[int, ...], *region: Any) -> Tensor:
        """Booleans in the data ``shape``, true in the region; here, the region is an array that broadcasts to it.

        Raises:
            InputError: the region is none of this shape, or holds something else than booleans and numbers.
        """
        if len(region) != 1 or isinstance(region[0], str | Path):
            raise InputError("the part to regenerate is one mask, an array that is true there: inpaint(artifact, mask)")
        values = np.asarray(region[0])
        if values.dtype.kind not in "biuf" or np.isnan(values).any():
            found = "NaN" if values.dtype.kind == "f" else repr(region[0])
            raise InputError(
                f"a mask holds true and false, or numbers that are 0 where the sample is kept, got {found}"
            )
        try:
            return torch.from_numpy(np.broadcast_to(values != 0, shape).copy())
        except ValueError as error:
            raise InputError(f"the mask has the shape {values.shape}, and the samples {shape}: resize it") from error

    def region(self, text: str) -> tuple[Any, ...]:
        """The arguments of `mask` from the command line; here, a file, true where its data is above 0."""
        return (self.to_data(self.read(Path(text))).numpy() > 0,)

    def extension(self, artifact: Artifact, amount: float) -> tuple[Tensor, int]:
        """Data of an artifact and the length of the last axis after it grows by ``amount``: here, in positions."""
        data = self.to_data(artifact)
        return data, data.shape[-1] + round(amount)

    def comparable(self, artifact: Artifact, shape: tuple[int, ...], *, foreign: bool) -> Artifact:
        """An artifact from a file in the form of data of ``shape``, to be scored beside them.

        Args:
            artifact: as it was read.
            shape: of the data.
            foreign: whether another program made it.

        Raises:
            InputError: it has another shape; a resize would count in the scores.
        """
        own = tuple(self.to_data(artifact).shape)
        if own != tuple(shape):
            raise InputError(
                f"has the shape {own} and the data {tuple(shape)}: make them equal, since a resize would change scores"
            )
        return artifact

    def reconstructed(self, shape: Sequence[int], decoded: Sequence[int]) -> bool:
        """Whether `fidelity` takes data of ``shape`` and a reconstruction of the shape ``decoded``.

        By default, they have equally many channels and axes: a reconstruction may be longer, by padding.
        """
        return tuple(decoded[:1]) == tuple(shape[:1]) and len(decoded) == len(shape)

    def fidelity(self, original: Tensor, decoded: Tensor) -> dict[str, float]:
        """How near a reconstruction is to its original, ``(C, *size)`` both, by several measures; none by default."""
        return {}

    def settings_for(self, shape: Sequence[int]) -> dict[str, Any]:
        """Settings of `preparation` under which a folder gives data of ``shape``; none by default."""
        return {}
