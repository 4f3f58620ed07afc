"""A check that a configuration can learn: overfit one batch within a minute."""

import time
from collections import deque
from typing import Any

import lightning as L

from multidiff.errors import InputError


class LearnsOneBatch(L.Callback):
    """Ends training when the loss of one batch has fallen far enough, or after a time limit.

    Args:
        fraction: of the initial loss that must be reached, in (0, 1).
        seconds: time limit.
        window: steps over which a loss is averaged, since each step has other times and noise.

    Raises:
        InputError: the loss did not fall far enough within the time or the steps, or there were too few steps to
            decide.
    """

    def __init__(self, fraction: float = 0.5, seconds: float = 60.0, window: int = 20):
        if not (0 < fraction < 1 and seconds > 0 and window > 0):
            raise InputError(f"need 0 < fraction < 1, seconds > 0 and window > 0, got {fraction}, {seconds}, {window}")
        self.fraction, self.seconds, self.window = fraction, seconds, window
        self.losses: deque[float] = deque(maxlen=window)
        self.first = 0.0
        self.learned = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.began = time.monotonic()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.losses.append(float(trainer.strategy.reduce(outputs["loss"].detach(), reduce_op="mean")))
        if len(self.losses) == self.window:
            self.first = self.first or self.last
            self.learned = self.last < self.fraction * self.first
        late = trainer.strategy.broadcast(time.monotonic() - self.began > self.seconds)
        trainer.should_stop = trainer.should_stop or self.learned or late

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        effort = f"{trainer.global_step} steps and {time.monotonic() - self.began:.0f} s"
        if not self.first:
            raise InputError(
                f"{effort} are too few to decide whether this configuration learns: the loss is averaged over "
                f"{self.window} batches; try a smaller loader.batch_size, or raise callbacks.learns_one_batch.seconds"
            )
        story = f"one batch: the loss went from {self.first:.3g} to {self.last:.3g} in {effort}"
        if not self.learned:
            raise InputError(
                f"this configuration does not learn {story}, which is above {self.fraction:.0%} of the first; "
                "try optimizer.lr, warmup_steps, or a larger backbone"
            )
        if trainer.is_global_zero:
            print(f"this configuration learns {story}")

    @property
    def last(self) -> float:
        """The mean loss of the last steps."""
        return sum(self.losses) / max(1, len(self.losses))
