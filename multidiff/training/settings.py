"""Settings of a training: their limits, and those that depend on the machine."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from multidiff.data.labels import Labels
from multidiff.errors import InputError
from multidiff.training.speed import decided_precision

SPEED_SETTINGS = ("compile", "channels_last")
"""Settings of the group ``trainer`` that are not Lightning's."""

BLOCKS = {"loader": "batch_size=16", "stability": "patience=20"}
"""Blocks of settings that are no group of configs, and an example for each."""

REQUIRED = ("data", "resume", "budget", "warmup_steps", "guidance", "max_missing", *BLOCKS)
"""Settings that every training reads, some of which may be null."""

LIMITS: dict[str, tuple[int, int | None]] = {
    "seed": (0, 2**32 - 1),
    "checkpoint_every": (1, None),
    "warmup_steps": (0, None),
    "trainer.max_steps": (1, None),
    "trainer.accumulate_grad_batches": (1, None),
    "trainer.val_check_interval": (1, None),
}


def check_present(settings: Mapping[str, Any], names: Iterable[str]) -> None:
    """Refuse settings without one of ``names``.

    Raises:
        InputError: one is missing.
    """
    for name in names:
        if name not in settings:
            raise InputError(f"{name} cannot be deleted: leave ~{name} out")


def check_blocks(settings: Mapping[str, Any]) -> None:
    """Refuse a single value in place of one of `BLOCKS`.

    Raises:
        InputError: there is one.
    """
    for block, example in BLOCKS.items():
        if not isinstance(settings[block], Mapping):
            raise InputError(f"{block} is a block of settings; give one of them, such as {block}.{example}")


def check_numbers(settings: Mapping[str, Any]) -> None:
    """Refuse integers outside of `LIMITS`.

    Raises:
        InputError: there is one.
    """
    for key, (low, high) in LIMITS.items():
        group, _, name = key.rpartition(".")
        value = (settings[group] if group else settings).get(name)
        if key == "trainer.max_steps" and value is None and settings["budget"] is not None:
            continue
        if type(value) is not int or value < low or (high is not None and value > high):
            top = f" and at most {high}" if high else ""
            raise InputError(f"{key} must be an integer of at least {low}{top}, got {value}")


def check_share(name: str, value: Any) -> None:
    """Refuse a setting that is not a number from 0 to 1.

    Raises:
        InputError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InputError(f"{name} must be a number from 0 to 1, got {value}")


def check_missing(fields: Mapping[str, Sequence[Any]], read: Iterable[str], limit: float) -> None:
    """Refuse data in which too many samples lack a field that the conditioning reads; the others train without it.

    A field that no sample has is left to its conditioner.

    Args:
        fields: columns of the data by name.
        read: fields of the conditioning.
        limit: the largest share of the samples, from 0 to 1.

    Raises:
        InputError: more samples lack a field.
    """
    check_share("max_missing", limit)
    for name in read:
        column = fields.get(name, ())
        missing = 0 if isinstance(column, Labels) else sum(map(is_missing, column))
        if limit * len(column) < missing < len(column):
            raise InputError(
                f"{missing} of {len(column)} samples have no {name}, and max_missing={limit:g} of them may lack it: "
                f"add it to them, or raise max_missing to at least {missing / len(column):.2g}"
            )


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


def is_missing(value: Any) -> bool:
    """Whether a sample lacks a field of this ``value``: None, or an empty text or tuple of texts."""
    return value is None or (isinstance(value, str | tuple) and not value)
