"""Scores while training, and the best model by one of them."""

import logging
import math
from typing import Any

import lightning as L
import torch

from multidiff.errors import InputError
from multidiff.evaluation import (
    LOWER_IS_BETTER,
    QUICK,
    Evaluator,
    Generated,
    Reference,
    extractor,
    require_enough,
)
from multidiff.sampling.processes import Processes
from multidiff.training.base_run import BaseRun
from multidiff.training.callbacks import RunCallback, step_done
from multidiff.training.run import Run

log = logging.getLogger(__name__)

BEST = "best"
"""Folder of the best model in the run directory."""


class Evaluate(RunCallback):
    """Scores the averaged model at regular steps against the training data, and keeps the best in ``RUN_DIR/best``.

    The scores go to the loggers. Training does not change: the weights are those of a run without this callback.

    Args:
        every: steps between evaluations; the last step is always evaluated.
        samples: number of samples, always from the same seeds.
        steps: of the sampler; its own by default.
        features: as ``multidiff evaluate --features``; the modality's own by default.
        score: by which the best model is chosen.

    Raises:
        InputError: a setting cannot be used.
    """

    def __init__(
        self,
        every: int = 1000,
        samples: int = 500,
        steps: int | None = None,
        features: str | None = None,
        score: str = "frechet_distance",
    ):
        if every < 1:
            raise InputError(f"callbacks.evaluation.every must be at least 1, got {every}")
        if score not in QUICK:
            raise InputError(f"callbacks.evaluation.score is one of {', '.join(QUICK)}, not {score!r}")
        require_enough(samples)
        self.every, self.samples, self.steps, self.features, self.score = every, samples, steps, features, score
        self.best = math.inf
        self.done: int | None = None
        self.run: Run | None = None
        self.evaluator: Evaluator | None = None

    def attach(self, run: BaseRun) -> None:
        """Prepare features and samples, so that missing weights are reported before training."""
        if not isinstance(run, Run):
            raise InputError("callbacks.evaluation scores samples of a diffusion model: use callbacks=default here")
        pipeline = run.pipeline
        self.run = run
        self.reference = Reference(pipeline.modality, run.dataset, run.holdout, run.seed)
        extractor(self.features, self.reference, Processes(), torch.device("cpu"))
        fields = self.reference.conditions(self.samples, pipeline.model.conditioner)
        self.source = Generated(run.plan(self.samples, self.steps, fields), self.reference)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.done = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step % self.every == 0 and step_done(trainer, batch_idx):
            self.evaluate(trainer, pl_module.device)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.global_step >= trainer.max_steps:  # a stopped training does not wait for scores
            self.evaluate(trainer, pl_module.device)

    def evaluate(self, trainer: L.Trainer, device: torch.device) -> None:
        """Score the averaged model, once a step, and save it if it is the best so far."""
        if self.done == trainer.global_step or not trainer.is_global_zero or self.run is None:
            return
        self.done = trainer.global_step
        if self.evaluator is None:
            self.evaluator = Evaluator(self.reference, extractor(self.features, self.reference, Processes(), device))
        try:
            with self.timed():
                scores = self.evaluator.distances(self.source)
        except InputError as error:  # such as samples that overflow; training continues
            log.warning("step %d is not scored: %s", trainer.global_step, error)
            return
        assert scores is not None
        for logger in trainer.loggers:
            logger.log_metrics({f"evaluation/{name}": value for name, value in scores.items()}, trainer.global_step)
        cost = scores[self.score] * (1 if self.score in LOWER_IS_BETTER else -1)
        if cost < self.best:
            self.best = cost
            self.run.save(self.run.run_dir / BEST, trainer.global_step, {self.score: scores[self.score]})
