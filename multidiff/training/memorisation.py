"""When a model begins to memorise the training samples."""

import logging
from pathlib import Path
from typing import Any

import lightning as L

from multidiff.weights import LOWEST

log = logging.getLogger(__name__)

RISE = 0.02
"""Relative rise of the held-out loss that counts."""

PATIENCE = 3
"""Validations in a row with such a loss."""


class Memorisation(L.Callback):
    """Warns once when the held-out loss rises, overall or in a range of noise levels, and since which step.

    The loss is that of the averaged weights at fixed times and noise, which does not fluctuate.

    Args:
        run_dir: of the run, which keeps the model of the lowest loss.
    """

    def __init__(self, run_dir: Path) -> None:
        self.lowest = run_dir / LOWEST
        self.best: dict[str, tuple[float, int]] = {}
        self.worse: dict[str, int] = {}
        self.told = False

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "worse": self.worse, "told": self.told}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = {name: (loss, step) for name, (loss, step) in state_dict["best"].items()}
        self.worse, self.told = state_dict["worse"], state_dict["told"]

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        for name, value in trainer.callback_metrics.items():
            if name == "val/loss" or name.startswith("val/log_snr"):
                self._follow(name.removeprefix("val/"), float(value), trainer.global_step)
        rising = {name: self.best[name][1] for name, times in self.worse.items() if times >= PATIENCE}
        if rising and not self.told and trainer.is_global_zero:
            name, step = min(rising.items(), key=lambda entry: entry[1])
            where = "" if name == "loss" else f" at {name.replace('_', ' ').replace('log snr', 'log SNR')}"
            log.warning(
                "the held-out loss%s has risen since step %d: the model begins to memorise the training samples; more "
                "data, dropout or a smaller model delays this; %s is the model with the lowest held-out loss",
                *(where, step, self.lowest),
            )
            self.told = True

    def _follow(self, name: str, loss: float, step: int) -> None:
        lowest, _ = self.best.get(name, (float("inf"), 0))
        if loss < lowest:
            self.best[name] = (loss, step)
        self.worse[name] = self.worse.get(name, 0) + 1 if loss > (1 + RISE) * lowest else 0
