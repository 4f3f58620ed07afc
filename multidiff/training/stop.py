"""Graceful stop: all processes end after the same step."""

import math
import multiprocessing
import signal
import time
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


GRACE = 5.0
"""Seconds that a training which was told to stop waits for its next batch."""


class NoBatch(BaseException):
    """The loader gives a training that was told to stop no batch; not an error, so that no reader takes it for one."""


class GracefulStop(L.Callback):
    """The first Ctrl-C or SIGTERM ends training after the current step, with a checkpoint.

    A second Ctrl-C ends it at once; a second SIGTERM, which launchers send too, changes nothing. A signal to one
    process stops all of them. Under SLURM, the signal that requeues a job does the same, and Lightning's own handler is
    called after the checkpoint is written rather than in the middle of a step.

    A training of one process waits at most `GRACE` seconds for the batch that completes the step. Without it, and after
    an error between two steps, such as a damaged file, the last completed step is saved.

    Args:
        save: writes the checkpoint of the current step.
    """

    def __init__(self, save: Callable[[L.Trainer], None]) -> None:
        self.save = save
        self.request = Request.NONE
        self._handlers: dict[int, Any] = {}
        self._requeue_signal: int | None = None
        self._requeue: Any = None
        self._between_steps = False
        self._waits_since = math.inf

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Note the handlers before Lightning sets its own, which it removes before `teardown`."""
        signals: list[int] = [signal.SIGINT, signal.SIGTERM]
        environment = trainer.strategy.cluster_environment if hasattr(trainer.strategy, "cluster_environment") else None
        if isinstance(environment, SLURMEnvironment) and environment.auto_requeue and environment.requeue_signal:
            self._requeue_signal = environment.requeue_signal
            signals.append(environment.requeue_signal)
        self._handlers = {number: signal.getsignal(number) for number in signals}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        def give_up(number: int, frame: FrameType | None) -> None:
            ends = trainer.should_stop or trainer.global_step >= trainer.max_steps
            if not ends and time.monotonic() - self._waits_since >= GRACE:
                raise NoBatch

        def stop(number: int, frame: FrameType | None) -> None:
            self.request = Request.REQUEUE if number == self._requeue_signal else Request.STOP
            signal.signal(signal.SIGINT, self._handlers[signal.SIGINT])
            if trainer.world_size == 1:  # of several, one that leaves would keep the others waiting
                signal.signal(signal.SIGALRM, give_up)
                signal.setitimer(signal.ITIMER_REAL, GRACE, 1.0)

        def a_child_ended(number: int, frame: FrameType | None) -> None:
            if self._waits_since < math.inf and callable(torchs):  # else torch finds out when it waits for its batch
                torchs(number, frame)

        self._wait(between_steps=True)
        if self._requeue_signal is not None:
            self._requeue = signal.getsignal(self._requeue_signal)
        for number in self._handlers:
            signal.signal(number, stop)
        torchs = signal.getsignal(signal.SIGCHLD)
        self._handlers |= {number: signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGCHLD)}
        signal.signal(signal.SIGCHLD, a_child_ended)

    def on_train_batch_start(self, *arguments: Any) -> None:
        self._work()

    def on_validation_start(self, *arguments: Any) -> None:
        self._wait(between_steps=False)

    def on_validation_batch_start(self, *arguments: Any) -> None:
        self._work()

    def on_validation_batch_end(self, *arguments: Any) -> None:
        self._wait(between_steps=False)

    def on_validation_epoch_end(self, *arguments: Any) -> None:
        self._work()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._wait(between_steps=not trainer.sanity_checking)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._wait(between_steps=step_done(trainer, batch_idx))
        if self._between_steps:
            mine = torch.tensor(int(self.request), device=pl_module.device)
            self.request = Request(int(trainer.strategy.reduce(mine, reduce_op="max")))
            if self.request != Request.NONE:
                self._hurry_no_more()
                trainer.should_stop = True
                trainer.limit_val_batches = 0  # a validation could take longer than the remaining time
                self.save(trainer)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._hurry_no_more()
        if isinstance(exception, NoBatch):
            self._handlers[signal.SIGCHLD] = signal.SIG_DFL
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch would report the loaders that are ended here
            for loader in multiprocessing.active_children():
                loader.kill()
        if self._between_steps and trainer.world_size == 1 and isinstance(exception, Exception | NoBatch):
            self.save(trainer)
        if isinstance(exception, NoBatch):
            self.on_train_end(trainer, pl_module)
        self._restore()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.request == Request.REQUEUE:
            self._requeue(self._requeue_signal, None)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._restore()

    def _restore(self) -> None:
        self._hurry_no_more()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _wait(self, *, between_steps: bool) -> None:
        """A batch is being waited for."""
        self._between_steps, self._waits_since = between_steps, time.monotonic()

    def _work(self) -> None:
        self._between_steps, self._waits_since = False, math.inf

    def _hurry_no_more(self) -> None:
        if self.request != Request.NONE:
            signal.setitimer(signal.ITIMER_REAL, 0)
