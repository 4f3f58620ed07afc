"""Settings of a training: which numbers are possible, and what is left to the machine."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

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


def check_numbers(config: DictConfig) -> None:
    """Refuse whole numbers outside of `LIMITS`.

    Raises:
        InputError: there is one.
    """
    for key, (low, high) in LIMITS.items():
        value = OmegaConf.select(config, key)
        if type(value) is not int or value < low or (high is not None and value > high):
            top = f" and at most {high}" if high else ""
            raise InputError(f"{key} must be a whole number of at least {low}{top}, got {value}")


def decided(settings: dict[str, Any], run_dir: Path | None) -> dict[str, Any]:
    """``settings`` with what is left to the machine, or to the run in ``run_dir`` that is resumed."""
    precision = decided_precision(settings["trainer"], run_dir)
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
