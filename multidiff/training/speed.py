"""Levers of speed that change no result beyond rounding: precision, compilation, memory format."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import nn

from multidiff.errors import InputError
from multidiff.nn.compilation import or_as_it_is
from multidiff.training.hardware import bfloat16_pays

log = logging.getLogger(__name__)


def device_kind(accelerator: str) -> str:
    """What Lightning's ``accelerator`` trains on here: ``cuda``, ``mps`` or ``cpu``."""
    if accelerator in ("auto", "gpu"):
        available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        return next((kind for kind, there in available.items() if there), "cpu")
    return accelerator


def decided_precision(trainer: Mapping[str, Any], run_dir: Path | None) -> str:
    """The precision that ``auto`` comes to: bfloat16 autocast where it pays, else float32; others as they are.

    Args:
        trainer: the settings of the trainer.
        run_dir: of the run that is gone on with, in the precision that it has; None for a new one.
    """
    if trainer["precision"] != "auto":
        return str(trainer["precision"])
    before = OmegaConf.load(run_dir / "config.yaml") if run_dir else OmegaConf.create()
    known = OmegaConf.select(before, "trainer.precision")
    pays = known is None and bfloat16_pays(device_kind(trainer["accelerator"]))
    return known or ("bf16-mixed" if pays else "32-true")


@dataclass(frozen=True)
class Levers:
    """What is done to a network before training, beside what Lightning's trainer does.

    Args:
        compile: whether forward and backward pass are compiled; where that fails, it is said, and training goes on.
        channels_last: whether the weights of two-dimensional convolutions, and so what they make, keep the channels of
            a pixel together.

    Raises:
        InputError: a value is not true or false.
    """

    compile: bool = False
    channels_last: bool = False

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, bool):
                raise InputError(f"trainer.{name} must be true or false, got {value!r}")

    def pull(self, network: nn.Module) -> None:
        """Make ``network`` fast, in place: the names in its state stay as they are."""
        if self.channels_last:
            network.to(memory_format=torch.channels_last)
        if self.compile:
            compile_or_go_on(network)


def compile_or_go_on(network: nn.Module) -> None:
    """Compile ``network`` in place, at its first call; if that fails, say so in a line and run it as it is.

    Dropout draws the numbers that it draws without compilation, so that the loss is the same up to rounding.
    """
    network.compile(options={"fallback_random": True})
    network._compiled_call_impl = or_as_it_is(
        network._compiled_call_impl,  # type: ignore[arg-type]  # torch declares it as None
        network._call_impl,
        lambda why: log.warning("trainer.compile: %s; training goes on uncompiled", why),
    )
