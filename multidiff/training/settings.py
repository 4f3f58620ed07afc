"""Settings of a training: their limits, and those that depend on the machine."""

from collections.abc import Mapping
from typing import Any

from multidiff.errors import InputError
from multidiff.training.speed import decided_precision

SPEED_SETTINGS = ("compile", "channels_last")
"""Settings of the group ``trainer`` that are not Lightning's."""

LIMITS: dict[str, tuple[int, int | None]] = {
    "seed": (0, 2**32 - 1),
    "checkpoint_every": (1, None),
    "warmup_steps": (0, None),
    "trainer.max_steps": (1, None),
    "trainer.accumulate_grad_batches": (1, None),
    "trainer.val_check_interval": (1, None),
}


def check_numbers(settings: Mapping[str, Any]) -> None:
    """Refuse integers outside of `LIMITS`.

    Raises:
        InputError: there is one.
    """
    for key, (low, high) in LIMITS.items():
        group, _, name = key.rpartition(".")
        value = (settings[group] if group else settings).get(name)
        if type(value) is not int or value < low or (high is not None and value > high):
            top = f" and at most {high}" if high else ""
            raise InputError(f"{key} must be an integer of at least {low}{top}, got {value}")


def decided(settings: dict[str, Any], before: Mapping[str, Any] | None) -> dict[str, Any]:
    """``settings`` with automatic values replaced by those for this machine, or by those ``before`` a resume."""
    known = (before or {}).get("trainer")
    precision = decided_precision(settings["trainer"], known.get("precision") if isinstance(known, dict) else None)
    optimizer = dict(settings["optimizer"])
    if precision == "16-mixed" and optimizer.get("fused"):
        optimizer["fused"] = False  # a fused optimiser would unscale the gradients only after they are clipped
    groups = {name: settings.get(name) or {} for name in ("conditioning", "callbacks", "logger")}
    return {
        **settings,
        **groups,
        "trainer": {**settings["trainer"], "precision": precision},
        "optimizer": optimizer,
    }
