"""Training for a given time instead of a given number of steps."""

import math
import re
from typing import Any

import lightning as L
import torch

from multidiff.errors import InputError
from multidiff.training import callbacks
from multidiff.training.callbacks import RunCallback, step_done
from multidiff.training.module import DiffusionModule
from multidiff.training.progress import FIRST, UNITS, duration

NAMED = {"overnight": 8 * UNITS["h"]}
LONGEST = 365 * UNITS["d"]

PARTS = 10
"""A training has at least so many validations, previews and checkpoints."""

ASIDE = 0.05
"""Part of a training that validations take at most, but for the first one; the same for previews and evaluations."""

WARMUP = 20
"""The learning rate rises over at most this part of a training."""

UNKNOWN = 2**31
"""Steps of a training until its first one is timed."""


def seconds_of(budget: Any) -> float:
    """The seconds of a budget such as ``90s``, ``30m``, ``1.5h``, ``2d`` or ``overnight``, which is eight hours.

    Raises:
        InputError: it is none of these, or longer than a year.
    """
    found = re.fullmatch(r"(\d+\.?\d*|\.\d+)([smhd])", str(budget).strip())
    seconds = NAMED.get(str(budget)) or (float(found[1]) * UNITS[found[2]] if found else 0.0)
    if not 0 < seconds <= LONGEST:
        raise InputError(f"budget is a time such as 90s, 30m, 2h, 1d or overnight, at most 365d, got {budget!r}")
    return seconds


def check_pace(seconds: float, pace: float) -> None:
    """Refuse a budget in which there are not even `FIRST` steps of ``pace`` seconds.

    Raises:
        InputError: it is so short.
    """
    if seconds < FIRST * pace:
        raise InputError(f"budget={seconds:g}s is too short: {FIRST} steps take about {duration(FIRST * pace)}")


class Budget(L.Callback):
    """Ends training when the time budget is used up, including the time before a resume.

    The number of steps, and with it the progress that objectives see, follows from the mean time of the steps so far,
    validation and previews included. After `FIRST` steps, warm-up and intervals that are too long for it are shortened.
    Intervals of validations and previews are lengthened again as far as their own time demands, see `ASIDE`.

    The number of steps and the seconds left are logged as ``train/steps`` and ``train/seconds_left``.

    Args:
        seconds: of training.

    Raises:
        InputError: while training, if the time is over before `FIRST` steps, or half of it is less than a validation.
    """

    def __init__(self, seconds: float):
        self.seconds = seconds
        self.before = 0.0
        self.planned: int | None = None
        self.since = self.step_since = self.validation_since = callbacks.clock()
        self.left = seconds
        self.stepping = 0.0
        self.batches = 0

    def state_dict(self) -> dict[str, Any]:
        return {"elapsed": self.elapsed, "planned": self.planned}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.before, self.planned = state_dict["elapsed"], state_dict["planned"]

    @property
    def elapsed(self) -> float:
        """Seconds of training so far."""
        return self.before + callbacks.clock() - self.since

    def on_train_start(self, trainer: L.Trainer, pl_module: DiffusionModule) -> None:  # type: ignore[override]
        self.since = callbacks.clock()
        self._set_length(trainer, self.before)
        if self.planned is not None:
            self._plan(trainer, pl_module, self.planned)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.step_since = callbacks.clock()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: DiffusionModule,  # type: ignore[override]
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self.stepping += callbacks.clock() - self.step_since
        self.batches += 1
        if not step_done(trainer, batch_idx):
            return
        mine = torch.tensor(self.elapsed, device=pl_module.device)
        self._set_length(trainer, float(trainer.strategy.reduce(mine, reduce_op="max")))
        if self.planned is None and trainer.global_step >= FIRST:
            self.planned = trainer.max_steps
            self._plan(trainer, pl_module, self.planned)
        if self.planned is not None:
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, RunCallback) and callback.seconds:
                    callback.every = max(callback.every, self._interval(callback.seconds, trainer))
        if trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._log(trainer)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.validation_since = callbacks.clock()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        mine = torch.tensor(callbacks.clock() - self.validation_since, device=pl_module.device)
        cost = float(trainer.strategy.reduce(mine, reduce_op="max"))
        if 2 * cost > self.seconds:
            raise InputError(
                f"budget={self.seconds:g}s is too short: a validation takes {duration(cost)}; lower loader.validated"
            )
        interval = self._interval(cost, trainer) * trainer.accumulate_grad_batches
        trainer.val_check_batch = max(int(trainer.val_check_batch or 1), interval)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._log(trainer)

    def _interval(self, seconds: float, trainer: L.Trainer) -> int:
        """Steps of which ``seconds`` are the part `ASIDE`."""
        pace = self.stepping / self.batches * trainer.accumulate_grad_batches
        return math.ceil(seconds / (ASIDE * pace))

    def _log(self, trainer: L.Trainer) -> None:
        values = {"train/steps": float(trainer.max_steps), "train/seconds_left": self.left}
        for logger in trainer.loggers:
            logger.log_metrics(values, trainer.global_step - 1)

    def _set_length(self, trainer: L.Trainer, elapsed: float) -> None:
        """Set the number of steps by the mean time of those that were done in ``elapsed`` seconds."""
        self.left = max(0.0, self.seconds - elapsed)
        done = trainer.global_step
        if elapsed >= self.seconds:
            if done < FIRST:
                check_pace(self.seconds, elapsed / max(done, 1))
            length = done
        else:
            length = max(done + 1, round(done * self.seconds / elapsed)) if done and elapsed else UNKNOWN
        trainer.fit_loop.epoch_loop.max_steps = length

    def _plan(self, trainer: L.Trainer, module: DiffusionModule, steps: int) -> None:
        """Shorten what is too long for a training of ``steps``."""
        module.warmup_steps = min(module.warmup_steps, steps // WARMUP)
        longest = max(1, steps // PARTS)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if getattr(callback, "every", 0):
                callback.every = min(callback.every, longest)
        trainer.log_every_n_steps = min(trainer.log_every_n_steps, longest)  # type: ignore[attr-defined]
        trainer.val_check_batch = min(
            int(trainer.val_check_batch or UNKNOWN), longest * trainer.accumulate_grad_batches
        )
