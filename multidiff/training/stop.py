"""Graceful stop: all processes end after the same step."""

import signal
from collections.abc import Callable
from enum import IntEnum
from types import FrameType
from typing import Any

import lightning as L
import torch
from lightning.pytorch.plugins.environments import SLURMEnvironment

from multidiff.training.callbacks import step_done


class Request(IntEnum):
    """What a signal requested; of several requests, the highest counts."""

    NONE = 0
    STOP = 1
    REQUEUE = 2


class GracefulStop(L.Callback):
    """The first Ctrl-C or SIGTERM ends training after the current step, with a checkpoint.

    A second Ctrl-C ends it at once; a second SIGTERM, which launchers send too, changes nothing. A signal to one
    process stops all of them. Under SLURM, the signal that requeues a job does the same, and Lightning's own handler is
    called after the checkpoint is written rather than in the middle of a step.

    Args:
        save: writes the checkpoint of the current step.
    """

    def __init__(self, save: Callable[[L.Trainer], None]) -> None:
        self.save = save
        self.request = Request.NONE
        self._handlers: dict[int, Any] = {}
        self._requeue_signal: int | None = None
        self._requeue: Any = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Note the handlers before Lightning sets its own, which it removes before `teardown`."""
        signals: list[int] = [signal.SIGINT, signal.SIGTERM]
        environment = trainer.strategy.cluster_environment if hasattr(trainer.strategy, "cluster_environment") else None
        if isinstance(environment, SLURMEnvironment) and environment.auto_requeue and environment.requeue_signal:
            self._requeue_signal = environment.requeue_signal
            signals.append(environment.requeue_signal)
        self._handlers = {number: signal.getsignal(number) for number in signals}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        def stop(number: int, frame: FrameType | None) -> None:
            self.request = Request.REQUEUE if number == self._requeue_signal else Request.STOP
            signal.signal(signal.SIGINT, self._handlers[signal.SIGINT])

        if self._requeue_signal is not None:
            self._requeue = signal.getsignal(self._requeue_signal)
        for number in self._handlers:
            signal.signal(number, stop)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if step_done(trainer, batch_idx):
            mine = torch.tensor(int(self.request), device=pl_module.device)
            self.request = Request(int(trainer.strategy.reduce(mine, reduce_op="max")))
            if self.request != Request.NONE:
                trainer.should_stop = True
                trainer.limit_val_batches = 0  # a validation could take longer than the remaining time
                self.save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.request == Request.REQUEUE:
            self._requeue(self._requeue_signal, None)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._restore()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}
