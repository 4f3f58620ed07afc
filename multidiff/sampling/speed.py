"""How the network evaluations of a plan are made cheaper: the entry ``speed`` of a sampler config."""

import copy
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import torch
from torch import nn

from multidiff.diffusion.denoiser import Denoiser, NetworkDenoiser
from multidiff.errors import InputError
from multidiff.nn.bfloat16 import InBfloat16, bfloat16_pays
from multidiff.nn.compilation import compile_in_place, with_fallback
from multidiff.nn.reuse import Partly, ReusedFeatures

log = logging.getLogger(__name__)

Module = TypeVar("Module", bound=nn.Module)

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Speed:
    """Settings that make evaluations cheaper. The first three change results by rounding, the others by more.

    Args:
        precision: of the network: ``float32``, or ``bfloat16`` by autocast.
        compile: whether the network is compiled; where that fails, it runs uncompiled.
        channels_last: whether two-dimensional convolutions keep the channels of a pixel together in memory.
        reuse: number of consecutive evaluations that share deep features; 1 for none.
        guidance_interval: of log SNR, in which guidance is active; None for everywhere.

    Raises:
        InputError: a value cannot be used.
    """

    precision: str = "float32"
    compile: bool = False
    channels_last: bool = False
    reuse: int = 1
    guidance_interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise InputError(f"precision is auto, float32 or bfloat16, got {self.precision!r}")
        if not (isinstance(self.compile, bool) and isinstance(self.channels_last, bool)):
            raise InputError(
                f"compile and channels_last are true or false, got {self.compile!r}, {self.channels_last!r}"
            )
        if type(self.reuse) is not int or self.reuse < 1:
            raise InputError(f"reuse is a number of evaluations, at least 1, got {self.reuse!r}")
        if self.guidance_interval is not None:
            object.__setattr__(self, "guidance_interval", _interval(self.guidance_interval))

    @classmethod
    def of(cls, sampler: Mapping[str, Any]) -> "Speed":
        """The settings in the config of a sampler, which need not have any.

        Raises:
            InputError: there are others, or a value cannot be used.
        """
        given = sampler.get("speed", {})
        known = asdict(cls())
        if not isinstance(given, Mapping) or not set(given) <= set(known):
            raise InputError(f"speed of sampler {sampler['name']} takes {', '.join(known)}, got {given!r}")
        return cls(**given)

    def record(self) -> dict[str, Any]:
        """The settings that are not the default, as plain values."""
        usual = asdict(Speed())
        given = {name: value for name, value in asdict(self).items() if value != usual[name]}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}

    def prepared(self, denoiser: NetworkDenoiser) -> "Prepared":
        """``denoiser`` for any number of batches; it stays as it is.

        Raises:
            InputError: its network has no features to reuse.
        """
        if not (self.reuse > 1 or self.channels_last or self.compile):
            return Prepared(self, denoiser)
        network: nn.Module = denoiser.network
        if self.reuse > 1 and not hasattr(network, "partly"):
            raise InputError(f"{type(network).__name__} has no features to reuse: set reuse to 1")
        if self.channels_last:
            network = copy.deepcopy(network).to(memory_format=torch.channels_last)
        if self.reuse > 1:
            return Prepared(self, denoiser, network, _compiled(network.partly) if self.compile else network.partly)  # type: ignore[arg-type]
        if self.compile:
            network = _alike(network)
            compile_in_place(network, _warn)
        return Prepared(self, denoiser, network)


@dataclass(frozen=True)
class Prepared:
    """A denoiser that is ready for batches.

    Attributes:
        speed: how it is evaluated.
        own: the denoiser of the model.
        network: which takes the place of its network; None if that stays.
        partly: of the network, if features are reused.
    """

    speed: Speed
    own: NetworkDenoiser
    network: nn.Module | None = None
    partly: Partly | None = None

    def denoiser(self) -> Denoiser:
        """The denoiser of one batch."""
        network, denoiser = self.network, self.own
        if network is not None and self.partly is not None:
            network = ReusedFeatures(network, self.speed.reuse, self.partly)
        if network is not None:
            denoiser = _alike(denoiser)
            denoiser.network = network
        return InBfloat16(denoiser) if self.speed.precision == "bfloat16" else denoiser


def with_speed(
    sampler: Mapping[str, Any], precision: str | None, compile: bool | None, device: torch.device
) -> Mapping[str, Any]:
    """The config ``sampler`` with other settings, and with the precision that ``auto`` stands for on ``device``.

    Raises:
        InputError: a value cannot be used.
    """
    given = {"precision": precision, "compile": compile}
    entry = sampler.get("speed", {})
    if not isinstance(entry, Mapping):
        raise InputError(f"speed of sampler {sampler['name']} is not a mapping: {entry!r}")
    changed = {**entry, **{name: value for name, value in given.items() if value is not None}}
    if changed.get("precision") == "auto":
        changed["precision"] = PRECISIONS[bfloat16_pays(device.type)]
    chosen = Speed.of({"name": sampler["name"], "speed": changed}).record()
    plain = {name: value for name, value in sampler.items() if name != "speed"}
    return {**plain, "speed": chosen} if chosen else plain


def _interval(given: Any) -> tuple[float, float]:
    numbers = isinstance(given, list | tuple) and all(type(value) in (int, float) for value in given)
    if not numbers or len(given) != 2 or not given[0] < given[1]:
        raise InputError(f"guidance_interval is a lower and a higher log SNR, got {given!r}")
    return float(given[0]), float(given[1])


def _compiled(partly: Partly) -> Partly:
    return with_fallback(torch.compile(partly), partly, _warn)


def _warn(why: str) -> None:
    log.warning("compile: %s; sampling continues uncompiled", why)


def _alike(module: Module) -> Module:
    """A module with the same parts, whose parts can be replaced without changing ``module``."""
    alike = copy.copy(module)
    alike._modules = dict(module._modules)
    return alike
