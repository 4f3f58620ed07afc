"""Edits of an artifact."""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from multidiff.codecs import Codec
from multidiff.data.files import sha256
from multidiff.diffusion.editing import Edit as Noised
from multidiff.diffusion.editing import Inpaint, SampleFunction
from multidiff.diffusion.extension import Extend
from multidiff.diffusion.samplers import sample
from multidiff.errors import InputError, refusals
from multidiff.modality import Modality
from multidiff.sampling.conditions import plain

MOST_WINDOWS = 10_000
"""How many times its own length a model may extend an artifact by."""

NUMBERS = {"strength", "amount", "overlap", "repeats"}
"""Settings of edits that are numbers."""


@dataclass(frozen=True)
class Canvas:
    """The space that a model generates in.

    Attributes:
        modality: of the artifacts.
        codec: from data to x0.
        shape: of x0, ``(C, *size)``.
        like: a tensor on the device and of the dtype of the model.
        masked: whether the network itself sees the mask of an edit.
    """

    modality: Modality[Any]
    codec: Codec
    shape: tuple[int, ...]
    like: Tensor
    masked: bool = False

    @property
    def data_shape(self) -> tuple[int, ...]:
        """Of the data tensors."""
        return self.codec.data_shape(self.shape)

    def encoded(self, data: Tensor) -> Tensor:
        """x0 of data ``(C, *size)``."""
        with torch.no_grad():
            return self.codec.encode(data.to(self.like.device, self.like.dtype)[None])[0]

    def x0(self, artifact: Any) -> Tensor:
        """x0 of an artifact.

        Raises:
            InputError: the artifact has another size than the samples of the model.
        """
        return self.encoded(self.modality.fitted(artifact, self.data_shape))


@dataclass(frozen=True)
class Edit(ABC):
    """What to do with an artifact.

    Attributes:
        init: the artifact.
        grows: whether samples are larger than those of the model.
        source: the file that it was read from, for the record: name, hash, and the option that described the edit.
    """

    kind: ClassVar[str]
    grows: ClassVar[bool] = False
    init: Any
    source: Mapping[str, Any] = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        for name in NUMBERS & vars(self).keys():
            value = getattr(self, name)
            if not isinstance(value, Real) or isinstance(value, bool):
                raise InputError(f"{name} is a number, got {value!r}")
            object.__setattr__(self, name, plain(value))

    @abstractmethod
    def function(self, canvas: Canvas) -> SampleFunction:
        """The way to sample; an `InputError` says why there is none."""

    def finished(self, canvas: Canvas, data: Tensor) -> Tensor:
        """Decoded data, ``(B, C, *size)``, with what the edit keeps put back where the codec is lossy."""
        return data

    def record(self, canvas: Canvas) -> dict[str, Any]:
        """Plain values, for JSON."""
        content = {"sha256": hashlib.sha256(canvas.modality.to_data(self.init).numpy().tobytes()).hexdigest()}
        settings = {key: value for key, value in vars(self).items() if key not in ("init", "source", "region")}
        return {"kind": self.kind, "init": dict(self.source) or content, **settings}


@dataclass(frozen=True)
class Vary(Edit):
    """Start from noise added to ``init``, of which ``strength`` is regenerated: above 0, at most 1."""

    kind = "vary"
    strength: float

    def function(self, canvas: Canvas) -> SampleFunction:
        with refusals():
            return Noised(canvas.x0(self.init), self.strength)


@dataclass(frozen=True)
class Redo(Edit):
    """Regenerate the part of ``init`` that `Modality.mask` understands by ``region``, and keep the rest exactly.

    A network that sees the mask itself keeps the rest nearly, by its own means. ``strength`` is that of `Vary`.
    """

    kind = "redo"
    region: tuple[Any, ...]
    repeats: int = 5
    strength: float = 1.0

    def function(self, canvas: Canvas) -> SampleFunction:
        with refusals():
            mask, x0 = canvas.codec.region(self.region_of(canvas)), canvas.x0(self.init)
            if not canvas.masked:
                return Inpaint(x0, mask.to(canvas.like.device), self.repeats, self.strength)
            return sample if self.strength == 1 else Noised(x0, self.strength)

    def region_of(self, canvas: Canvas) -> Tensor:
        """The part of the data that is regenerated, boolean, ``(C, *size)``; an `InputError` if it is empty."""
        mask = canvas.modality.mask(canvas.data_shape, *self.region)
        if not mask.any():
            raise InputError(
                "the mask is false everywhere, so nothing would be regenerated: it is true, or white in a file, where "
                "the sample changes"
            )
        return mask

    def finished(self, canvas: Canvas, data: Tensor) -> Tensor:
        if not canvas.codec.lossy:
            return data
        mask = self.region_of(canvas)
        return torch.where(mask.to(data.device), data, canvas.modality.fitted(self.init, canvas.data_shape).to(data))


@dataclass(frozen=True)
class Continue(Edit):
    """Extend ``init``, of any length, along its last axis by ``amount``, in the unit of the modality."""

    kind = "continue"
    grows = True
    amount: float
    overlap: float = 0.5
    repeats: int = 5

    def function(self, canvas: Canvas) -> SampleFunction:
        if not 0 < self.overlap < 1:
            raise InputError(f"the overlap is a fraction of a window, between 0 and 1, got {self.overlap}")
        if not math.isfinite(self.amount):
            raise InputError(f"extending takes a finite amount, got {self.amount}")
        codec = canvas.codec
        with refusals():
            data, length = canvas.modality.extension(self.init, self.amount)
            if length <= data.shape[-1]:
                raise InputError(f"extending takes an amount above 0, got {self.amount}")
            if length > data.shape[-1] + MOST_WINDOWS * canvas.data_shape[-1]:
                raise InputError(f"extending by {self.amount} takes more than {MOST_WINDOWS} windows")
            beyond = (torch.arange(length) >= data.shape[-1]).expand(*data.shape[:-1], -1)
            region = codec.region(beyond).reshape(-1, codec.shape(tuple(beyond.shape))[-1])
            known = canvas.encoded(data)[..., : int(region.any(0).int().argmax())]
            if not known.shape[-1]:
                raise InputError("the artifact is too short to extend")
            if known.shape[:-1] != canvas.shape[:-1]:
                given = tuple(known.shape[:-1])
                raise InputError(f"this model extends samples of {canvas.shape[:-1]}, and the one given is {given}")
            window = canvas.shape[-1] - 2 * codec.edge - codec.period + 1
            overlap = max(1, int(self.overlap * window))
            return Extend(known, region.shape[-1], overlap, self.repeats, edge=codec.edge, period=codec.period)

    def finished(self, canvas: Canvas, data: Tensor) -> Tensor:
        if not canvas.codec.lossy:
            return data
        known, _ = canvas.modality.extension(self.init, self.amount)
        return torch.cat([known.to(data).expand(len(data), *known.shape), data[..., known.shape[-1] :]], dim=-1)


def seen(canvas: Canvas, edit: Edit | None) -> tuple[Tensor, Tensor]:
    """Inputs of an inpainting network: the mask in the space of the network, and x0 with the masked part grey."""
    data, region = torch.zeros(canvas.data_shape), torch.ones(canvas.data_shape, dtype=torch.bool)
    if isinstance(edit, Redo):
        data, region = canvas.modality.fitted(edit.init, canvas.data_shape), edit.region_of(canvas)
    return canvas.codec.region(region).to(canvas.like.device), canvas.encoded(torch.where(region, 0.0, data))


def edit_of(modality: Modality[Any], init: Path, name: str, value: Any, strength: float = 1.0) -> Edit:
    """The edit of a file that an option of the command line describes.

    Args:
        modality: of the file.
        init: the file.
        name: "strength", "mask" or "extend".
        value: of the option.
        strength: with a mask, how much of the part is regenerated.

    Raises:
        InputError: the file cannot be read, or the value cannot be used.
    """
    artifact = modality.read(init)
    source = {**_identity(init), "option": name, "value": value}
    if name == "mask":
        if Path(str(value)).is_file():
            source["mask"] = _identity(Path(str(value)))
        return Redo(artifact, modality.region(str(value)), strength=strength, source=source)
    return Vary(artifact, value, source=source) if name == "strength" else Continue(artifact, value, source=source)


def _identity(path: Path) -> dict[str, str]:
    """The name and the hash of a file."""
    return {"file": path.name, "sha256": sha256(path)}
