"""Scores while training, and the best model by one of them."""

import logging
import math
from typing import Any

import lightning as L
import torch

from multidiff.configuration import described, instantiate
from multidiff.errors import InputError
from multidiff.evaluation.evaluation import Evaluator, require_enough
from multidiff.evaluation.features import Features
from multidiff.evaluation.reference import Reference
from multidiff.evaluation.scores import LOWER_IS_BETTER, QUICK
from multidiff.evaluation.sources import Drawn, Source
from multidiff.training.callbacks import Run, RunCallback, step_done

log = logging.getLogger(__name__)

BEST = "best"
"""The folder of the best model, in that of the run."""


class Evaluate(RunCallback):
    """Scores the averaged model every so many steps against the training data, and keeps the best in ``RUN_DIR/best``.

    The scores go to the loggers. Training itself is not touched: the weights are those of a run without this.

    Args:
        every: steps between evaluations; the last step is always evaluated.
        samples: how many are drawn, always from the same seeds.
        steps: of the sampler; its own by default.
        features: as ``multidiff evaluate --features``; the modality's own by default.
        score: that the best model has the best of.

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

    def attach(self, run: Run) -> None:
        """Prepare the features, so that what is missing is known before training."""
        self.run = run
        self.reference = Reference(run.pipeline.modality, run.dataset, run.holdout, run.seed)
        asked = self.features or run.pipeline.modality.features
        if asked is None:
            raise InputError(f"callbacks.evaluation.features must be given: {run.pipeline.modality.name}s have none")
        self.extractors: Features = instantiate(described("features", asked))
        self.extractors.extractor(self.reference, torch.device("cpu"))
        self.source = self._source(run)

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
        if trainer.global_step >= trainer.max_steps:  # who stops training before does not wait for scores
            self.evaluate(trainer, pl_module.device)

    def evaluate(self, trainer: L.Trainer, device: torch.device) -> None:
        """Score the present average, unless this step's is scored already, and keep it if it is the best yet."""
        if self.done == trainer.global_step or not trainer.is_global_zero or self.run is None:
            return
        self.done = trainer.global_step
        if self.evaluator is None:
            self.evaluator = Evaluator(self.reference, self.extractors.extractor(self.reference, device))
        try:
            scores = self.evaluator.distances(self.source)
        except InputError as error:  # such as samples that overflow, which is no reason to end training
            log.warning("step %d is not scored: %s", trainer.global_step, error)
            return
        assert scores is not None
        for logger in trainer.loggers:
            logger.log_metrics({f"evaluation/{name}": value for name, value in scores.items()}, trainer.global_step)
        badness = scores[self.score] * (1 if self.score in LOWER_IS_BETTER else -1)
        if badness < self.best:
            self.best = badness
            self.run.save(self.run.run_dir / BEST, trainer.global_step, {self.score: scores[self.score]})

    def _source(self, run: Run) -> Source:
        conditioner = run.pipeline.model.conditioner
        asked = self.reference.conditions(self.samples, conditioner.reads, conditioner.vocabulary)
        return Drawn(run.pipeline, run.pipeline.sampling.changed(steps=self.steps), asked, seed=0)
