"""An evaluation from its settings, shared by several processes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from multidiff.configuration import described, instantiate_as
from multidiff.errors import InputError
from multidiff.evaluation.evaluated import Evaluated, EvaluatedFiles, EvaluatedModel
from multidiff.evaluation.evaluation import Evaluation, Evaluator, require_enough
from multidiff.evaluation.features import Extractor, Features
from multidiff.evaluation.reference import Reference
from multidiff.evaluation.report import Sweep, page
from multidiff.evaluation.sources import Generated, Source
from multidiff.sampling.processes import Processes

SWEPT: Mapping[str, tuple[float, ...]] = {"steps": (4, 8, 16, 32, 64), "guidance": (1.0, 1.5, 2.0, 3.0, 4.0)}
"""Values of the settings that a sweep scores."""


@dataclass(frozen=True)
class EvaluationSettings:
    """What to evaluate, and how; the help of ``multidiff evaluate`` explains each setting.

    Raises:
        InputError: settings that contradict one another, or a number that cannot be used.
    """

    data: str
    model: str | None = None
    generated: Path | None = None
    modality: str | None = None
    features: str | None = None
    samples: int = 2000
    changes: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    batch_size: int = 64
    holdout: float | None = None
    split_seed: int | None = None
    sweep: bool = False

    def __post_init__(self) -> None:
        if (self.model is None) == (self.generated is None):
            raise InputError("give either a MODEL that generates samples, or --generated DIR with existing samples")
        if self.batch_size < 1:
            raise InputError(f"--batch-size must be at least 1, got {self.batch_size}")
        require_enough(self.samples)
        if self.sweep and self.model is None:
            raise InputError("--sweep generates samples at several settings, so it needs a MODEL")


@dataclass(frozen=True)
class Result:
    """An evaluation with what a report shows of it.

    Attributes:
        evaluation: the scores.
        sweeps: quick scores over the values of a setting, by its name.
        title: of a report.
        evaluator: that computed the scores.
        source: of the samples.
    """

    evaluation: Evaluation
    sweeps: dict[str, Sweep]
    title: str
    evaluator: Evaluator
    source: Source

    def to_json(self) -> str:
        """Scores and protocol."""
        return self.evaluation.to_json(self.sweeps)

    def to_html(self) -> str:
        """A page with pictures and plots."""
        return page(self.title, self.evaluation, self.evaluator, self.source, self.sweeps)


class EvaluationRun:
    """An evaluation that is ready to be computed, as one of several processes.

    Args:
        settings: what to evaluate, and how.
        processes: that share the work.
        device: of the networks.

    Attributes:
        extractor: of the features.
        total: number of artifacts that pass through networks.

    Raises:
        InputError: a setting or a file that cannot be used.
    """

    def __init__(self, settings: EvaluationSettings, processes: Processes, device: torch.device):
        self.settings, self.processes = settings, processes
        self.evaluated = _evaluated(settings, device)
        dataset = self.evaluated.data(settings.data)
        self.reference = Reference(
            self.evaluated.modality,
            dataset,
            self.evaluated.holdout if settings.holdout is None else settings.holdout,
            self.evaluated.split_seed if settings.split_seed is None else settings.split_seed,
        )
        self.source, self.facts = self._source(settings.changes)
        require_enough(len(self.source))
        self.extractor = extractor(settings.features, self.reference, processes, device)
        self.sweeps = self._swept() if settings.sweep else {}
        rounds = 1 + sum(len(points) for points in self.sweeps.values())
        self.total = len(self.source) * rounds + len(self.reference.training) + len(self.reference.held_out)

    def result(self, advance: Callable[[int], None] = lambda count: None) -> Result | None:
        """Compute all scores; the result on process 0, None on the others.

        Args:
            advance: called with the number of finished artifacts.
        """
        evaluator = Evaluator(
            self.reference, self.extractor, self.processes, batch_size=self.settings.batch_size, advance=advance
        )
        evaluation = evaluator.evaluate(self.source, self.facts, advance)
        curves: dict[str, Sweep] = {
            setting: {value: evaluator.distances(point, advance) or {} for value, point in points.items()}
            for setting, points in self.sweeps.items()
        }
        if evaluation is None:
            return None
        return Result(evaluation, curves, f"Evaluation of {self.evaluated.name}", evaluator, self.source)

    def _source(self, changes: Mapping[str, Any]) -> tuple[Source, dict[str, Any]]:
        return self.evaluated.source(self.reference, self.settings.samples, self.settings.seed, changes)

    def _swept(self) -> dict[str, dict[float, Source]]:
        guided = isinstance(self.source, Generated) and any(self.source.plan.samples)
        names = [name for name in SWEPT if name != "guidance" or guided]
        return {
            name: {value: self._source({**self.settings.changes, name: value})[0] for value in SWEPT[name]}
            for name in names
        }


def extractor(name: str | None, reference: Reference, processes: Processes, device: torch.device) -> Extractor:
    """The extractor of the features ``NAME KEY=VALUE ...``, or of the modality's own.

    Raises:
        InputError: the modality has none, or its weights are missing.
    """
    asked = name or reference.modality.features
    if asked is None:
        raise InputError(f"{reference.modality.name}s have no features of their own: name some with --features")
    features = instantiate_as(Features, described("features", asked))
    if processes.rank:
        processes.wait()  # process 0 trains and caches what must be trained
        return features.extractor(reference, device)
    found = features.extractor(reference, device)
    processes.wait()
    return found


def _evaluated(settings: EvaluationSettings, device: torch.device) -> Evaluated:
    if settings.model is not None:
        return EvaluatedModel(settings.model, device)
    assert settings.generated is not None
    return EvaluatedFiles(settings.generated, settings.modality)
