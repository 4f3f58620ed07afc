"""Precision, compilation and memory format: settings that change speed, and results by rounding alone."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from multidiff.errors import InputError
from multidiff.nn.bfloat16 import bfloat16_pays
from multidiff.nn.compilation import compile_in_place

log = logging.getLogger(__name__)


def device_kind(accelerator: str) -> str:
    """What Lightning's ``accelerator`` trains on here: ``cuda``, ``mps`` or ``cpu``."""
    if accelerator in ("auto", "gpu"):
        available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        return next((kind for kind, there in available.items() if there), "cpu")
    return accelerator


def decided_precision(trainer: Mapping[str, Any], known: str | None = None) -> str:
    """The precision that ``auto`` stands for: bfloat16 autocast where it is faster, else float32.

    Args:
        trainer: the settings of the trainer.
        known: the precision of the run that is resumed, which is kept; None for a new run.
    """
    if trainer["precision"] != "auto":
        return str(trainer["precision"])
    pays = known is None and bfloat16_pays(device_kind(trainer["accelerator"]))
    return known or ("bf16-mixed" if pays else "32-true")


@dataclass(frozen=True)
class SpeedSettings:
    """How a network is prepared for training, beside what Lightning's trainer does.

    Args:
        compile: whether forward and backward pass are compiled; where that fails, training continues without.
        channels_last: whether two-dimensional convolutions keep the channels of a pixel together in memory.

    Raises:
        InputError: a value is not true or false.
    """

    compile: bool = False
    channels_last: bool = False

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, bool):
                raise InputError(f"trainer.{name} must be true or false, got {value!r}")

    def apply(self, network: nn.Module) -> None:
        """Make ``network`` fast, in place: the names in its state stay as they are."""
        if self.channels_last:
            network.to(memory_format=torch.channels_last)
        if self.compile:
            compile_with_fallback(network)


def compile_with_fallback(network: nn.Module) -> None:
    """Compile ``network`` in place, at its first call; if that fails, warn and run it uncompiled."""
    compile_in_place(network, lambda why: log.warning("trainer.compile: %s; training continues uncompiled", why))
