"""An evaluation by its settings, on one or several processes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from multidiff.configuration import described, instantiate
from multidiff.errors import InputError
from multidiff.evaluation.codec import EvaluatedCodec, is_codec_path
from multidiff.evaluation.evaluated import Evaluated, EvaluatedFiles, EvaluatedModel
from multidiff.evaluation.evaluation import Evaluation, Evaluator, require_enough
from multidiff.evaluation.features import Extractor, Features
from multidiff.evaluation.reference import Reference
from multidiff.evaluation.report import Sweep, page
from multidiff.evaluation.sources import Generated, Source
from multidiff.sampling.few_step import has_learned
from multidiff.sampling.processes import Processes
from multidiff.sampling.sampler_config import chosen_sampler

SWEPT_STEPS = (4, 8, 16, 32, 64)
FEW_STEPS = (1, 2, 4)
SWEPT_SCALES = (1.0, 1.5, 2.0, 3.0, 4.0)
"""Numbers of steps, fewer for models that are trained for few, and guidance scales that a sweep evaluates."""


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
    batch_size: int | None = None
    holdout: float | None = None
    split_seed: int | None = None
    sweep: bool = False

    def __post_init__(self) -> None:
        if (self.model is None) == (self.generated is None):
            raise InputError("give either a MODEL that generates samples, or --generated DIR with existing samples")
        if self.batch_size is not None and self.batch_size < 1:
            raise InputError(f"--batch-size must be at least 1, got {self.batch_size}")
        require_enough(self.samples)
        if self.sweep and self.model is None:
            raise InputError("--sweep generates samples at several settings, so it needs a MODEL")


@dataclass(frozen=True)
class Result:
    """An evaluation, with everything that its report shows.

    Attributes:
        evaluation: the scores.
        sweeps: quick scores over the values of a setting, by its name.
        title: of the report.
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
        """The report: a page with scores, pictures and plots."""
        return page(self.title, self.evaluation, self.evaluator, self.source, self.sweeps)


class EvaluationRun:
    """An evaluation that is ready to be computed.

    Args:
        settings: what to evaluate, and how.
        processes: that share the work; by default this one alone.
        device: of the networks; by default the CPU.

    Attributes:
        extractor: of the features.
        total: number of artifacts that pass through networks.

    Raises:
        InputError: a setting or a file that cannot be used.
    """

    def __init__(
        self, settings: EvaluationSettings, processes: Processes | None = None, device: torch.device | None = None
    ):
        processes, device = processes or Processes(), device or torch.device("cpu")
        self.settings, self.processes = settings, processes
        self.evaluated = _evaluated(settings, device)
        dataset = self.evaluated.data(settings.data)
        self.reference = Reference(
            self.evaluated.modality,
            dataset,
            self.evaluated.holdout if settings.holdout is None else settings.holdout,
            self.evaluated.split_seed if settings.split_seed is None else settings.split_seed,
        )
        self.source, self.facts = self.evaluated.source(
            self.reference, settings.samples, settings.seed, settings.changes
        )
        require_enough(len(self.source))
        self.extractor = extractor(settings.features, self.reference, processes, device)
        self.sweeps = _sweeps(self.source) if settings.sweep and isinstance(self.source, Generated) else {}
        rounds = 1 + sum(len(points) for points in self.sweeps.values())
        if settings.sweep and not self.sweeps:
            raise InputError("--sweep generates samples at several settings, and a codec generates none")
        self.total = len(self.source) * rounds + len(self.reference.training) + len(self.reference.held_out)

    def result(self, advance: Callable[[int], None] = lambda count: None) -> Result | None:
        """Compute all scores; the result on process 0, None on the others.

        Args:
            advance: called with the number of finished artifacts.
        """
        evaluator = Evaluator(self.reference, self.extractor, self.processes, advance=advance)
        evaluation = evaluator.evaluate(self.source, self.facts, advance)
        curves: dict[str, Sweep] = {
            setting: {value: evaluator.distances(point, advance) or {} for value, point in points.items()}
            for setting, points in self.sweeps.items()
        }
        if evaluation is None:
            return None
        return Result(evaluation, curves, f"Evaluation of {self.evaluated.name}", evaluator, self.source)


def extractor(name: str | None, reference: Reference, processes: Processes, device: torch.device) -> Extractor:
    """The extractor of the features ``NAME KEY=VALUE ...``, or of the modality's own.

    Raises:
        InputError: the modality has none, or its weights are missing.
    """
    text = name or reference.modality.features
    if text is None:
        raise InputError(f"the modality {reference.modality.name} has no default features: name some with --features")
    features = instantiate(Features, described("features", text))
    if processes.rank:
        processes.wait()  # process 0 trains and caches what must be trained
        return features.extractor(reference, device)
    found = features.extractor(reference, device)
    processes.wait()
    return found


def _sweeps(source: Generated) -> dict[str, dict[float, Source]]:
    plan, guidance = source.plan, source.plan.guidance
    trained = plan.pipeline.trained
    counts = FEW_STEPS if trained.samplers else SWEPT_STEPS
    samplers = {steps: chosen_sampler(plan.sampler, None, steps) for steps in counts}
    sweeps: dict[str, dict[float, Source]] = {
        "steps": {steps: source.changed(sampler=sampler) for steps, sampler in samplers.items()}
    }
    if guidance.acts_on(plan.pipeline.model.conditioner.stated(plan.samples)):
        guided = {scale: replace(guidance, scale=scale) for scale in SWEPT_SCALES if has_learned(trained, scale)}
        sweeps["guidance"] = {scale: source.changed(guidance=each) for scale, each in guided.items()}
    return sweeps


def _evaluated(settings: EvaluationSettings, device: torch.device) -> Evaluated:
    if settings.model is not None and is_codec_path(settings.model):
        return EvaluatedCodec(settings.model, device, settings.batch_size)
    if settings.model is not None:
        return EvaluatedModel(settings.model, device, settings.batch_size)
    assert settings.generated is not None
    return EvaluatedFiles(settings.generated, settings.modality)
