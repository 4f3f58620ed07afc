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

from multidiff.errors import InputError
from multidiff.training.callbacks import step_done
from multidiff.training.meeting import tell_all, told, wait_for_all


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

    A training that is told to stop waits at most `GRACE` seconds for a batch, be it of training or of validation.
    Without it, and after an error while it waits, such as a damaged file, the last completed step is saved. Several
    processes have the same weights while one of them waits, so the first saves them without the others.

    Args:
        save: writes the checkpoint of the current step; ``alone`` does not wait for other processes.
    """

    def __init__(self, save: Callable[..., None]) -> None:
        self.save = save
        self.request = Request.NONE
        self._handlers: dict[int, Any] = {}
        self._requeue_signal: int | None = None
        self._requeue: Any = None
        self._waits_since = math.inf
        self._ticks = False

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
            ends = not trainer.validating and (trainer.should_stop or trainer.global_step >= trainer.max_steps)
            if not ends and time.monotonic() - self._waits_since >= GRACE and self._stops(trainer):
                raise NoBatch

        def stop(number: int, frame: FrameType | None) -> None:
            self.request = Request.REQUEUE if number == self._requeue_signal else Request.STOP
            signal.signal(signal.SIGINT, self._handlers[signal.SIGINT])
            if not self._ticks:
                self._tick(GRACE)

        def a_child_ended(number: int, frame: FrameType | None) -> None:
            if self._waits_since < math.inf and callable(torchs):  # else torch finds out when it waits for its batch
                torchs(number, frame)

        self._wait(trainer)
        if self._requeue_signal is not None:
            self._requeue = signal.getsignal(self._requeue_signal)
        for number in self._handlers:
            signal.signal(number, stop)
        torchs = signal.getsignal(signal.SIGCHLD)
        self._handlers |= {number: signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGCHLD)}
        signal.signal(signal.SIGCHLD, a_child_ended)
        signal.signal(signal.SIGALRM, give_up)
        if trainer.world_size > 1:  # another process may be the one that is told
            self._tick(1.0)

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *arguments: Any) -> None:
        self._work(trainer, pl_module)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._wait(trainer)

    def on_validation_batch_start(self, *arguments: Any) -> None:
        self._waits_since = math.inf

    def on_validation_batch_end(self, trainer: L.Trainer, *arguments: Any) -> None:
        self._wait(trainer)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._work(trainer, pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._wait(trainer)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._wait(trainer)
        if step_done(trainer, batch_idx):
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
        if self._waits_since < math.inf and isinstance(exception, Exception | NoBatch):
            self.save(trainer, alone=True)
        if isinstance(exception, NoBatch):
            self.on_train_end(trainer, pl_module)
        self._restore()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._ticks = True  # so that a late signal starts no further tick: Lightning takes its handler away next
        signal.setitimer(signal.ITIMER_REAL, 0)
        if self.request == Request.REQUEUE:
            self._requeue(self._requeue_signal, None)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._restore()

    def _restore(self) -> None:
        self._hurry_no_more()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _wait(self, trainer: L.Trainer) -> None:
        """A batch is being waited for; the weights are those of the last completed step."""
        if not trainer.sanity_checking:
            self._waits_since = time.monotonic()

    def _work(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """The batch is there. Of several processes, each waits until all have theirs, before they compute together."""
        if trainer.world_size > 1:
            try:
                wait_for_all(module.device)
            except InputError as error:
                if self._stops(trainer):
                    raise NoBatch from error
                raise
        self._waits_since = math.inf

    def _stops(self, trainer: L.Trainer) -> bool:
        """Whether this process was told to stop, or another one that has told all."""
        if trainer.world_size > 1:
            if self.request != Request.NONE:
                tell_all()
            elif told():
                self.request = Request.STOP
        return self.request != Request.NONE

    def _tick(self, seconds: float) -> None:
        """Look from now on whether training waits for too long."""
        self._ticks = True
        signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)

    def _hurry_no_more(self) -> None:
        if self._ticks:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._ticks = False
