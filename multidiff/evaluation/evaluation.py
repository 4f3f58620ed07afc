"""Scores of samples against real data, with the protocol that they depend on."""

import hashlib
import json
import math
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from multidiff.configuration import instantiate, load_option
from multidiff.errors import InputError
from multidiff.evaluation.features import Extractor, FeatureBatch, extract
from multidiff.evaluation.memorisation import Memorisation
from multidiff.evaluation.reference import FEWEST, Reference
from multidiff.evaluation.scores import ClassificationReport, Comparison, Score, classification_report
from multidiff.evaluation.set_metric import SetMetric
from multidiff.evaluation.set_scores import Recording, SetScores, set_scores
from multidiff.evaluation.sources import BLOCK, Real, Source
from multidiff.sampling.processes import Processes

FORMAT = 2
CLOSEST = 12
"""Pairs of a sample and its nearest training sample that are reported."""

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation.

    Attributes:
        scores: by name.
        classification: by a classifier, if there is one.
        memorisation: distances to the training data.
        protocol: everything that the scores depend on.
        sets: scores of sets of artifacts, if the modality has a set metric.
    """

    scores: dict[str, Score]
    classification: ClassificationReport | None
    memorisation: Memorisation
    protocol: dict[str, Any]
    sets: SetScores | None = None

    def to_json(self, sweeps: Mapping[str, Any] | None = None) -> str:
        """Scores and protocol, the same bytes in every run; ``sweeps`` has quick scores by setting."""
        memory = self.memorisation
        record = {
            "format": FORMAT,
            "scores": {name: asdict(score) for name, score in self.scores.items()},
            "classifier": None if self.classification is None else asdict(self.classification),
            "memorisation": {
                "nearer_than_held_out": memory.nearer,
                "suspicious": memory.suspicious,
                "median_distance": float(memory.distances.median()),
                "median_distance_held_out": float(memory.held_out.median()),
                "closest": [
                    {"sample": sample, "training_sample": real, "distance": float(memory.distances[sample])}
                    for sample, real in memory.closest(CLOSEST)
                ],
            },
            **({"sets": self.sets.record()} if self.sets else {}),
            **({"sweeps": sweeps} if sweeps else {}),
            "protocol": self.protocol,
        }
        return json.dumps(_finite(record), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    """``value`` with null for numbers that are not finite, which JSON lacks: scores of degenerate sets."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def require_enough(count: int) -> None:
    """Refuse fewer samples than standard errors need.

    Raises:
        InputError: there are fewer than `FEWEST`.
    """
    if count < FEWEST:
        raise InputError(f"an evaluation needs at least {FEWEST} samples, got {count}")


class Evaluator:
    """Compares any number of sets of samples with the features of real data.

    Every process creates an evaluator and calls the same methods; process 0 gets the results.

    Args:
        reference: the real data.
        extractor: of the features.
        processes: that share the work.
        advance: called with the number of finished artifacts.
    """

    def __init__(
        self,
        reference: Reference,
        extractor: Extractor,
        processes: Processes | None = None,
        *,
        advance: Advance = lambda count: None,
    ):
        self.reference, self.extractor = reference, extractor
        self.processes = processes or Processes()
        self.training = Real(reference, reference.training)
        self.held_out = Real(reference, reference.held_out)
        training, held_out = self.extract(self.training, advance), self.extract(self.held_out, advance)
        self._held_out_features = held_out
        self.comparison = None if training is None else Comparison(training, extractor.gaussian_width)

    def extract(self, source: Source, advance: Advance) -> FeatureBatch | None:
        """The features of ``source``, on process 0.

        Raises:
            InputError: a feature is not finite.
        """
        with self.processes.working():
            found = extract(self.extractor, source, self.processes, advance=advance)
        if found is not None and not bool(found.features.isfinite().all()):
            raise InputError(f"features by {self.extractor.name} are not finite: its weights or a file are damaged")
        return found

    def distances(self, source: Source, advance: Advance = lambda count: None) -> dict[str, float] | None:
        """The quick scores of ``source``, on process 0."""
        generated = self.extract(source, advance)
        if generated is None or self.comparison is None:
            return None
        return self.comparison.distances(generated)

    def evaluate(
        self, source: Source, facts: dict[str, Any], advance: Advance = lambda count: None
    ) -> Evaluation | None:
        """All scores of ``source``, on process 0; ``facts`` about it go into the protocol.

        Raises:
            InputError: there are too few samples for standard errors.
        """
        require_enough(len(source))
        metric = set_metric(self.reference)
        recording = None if metric is None else Recording(source, metric)
        generated = self.extract(recording or source, advance)
        forms = None if recording is None else recording.gathered(self.processes)
        if generated is None or self.comparison is None or self._held_out_features is None:
            return None
        held_out, requested = self._held_out_features, list(source.labels)
        sets = None if metric is None or forms is None else set_scores(metric, forms, requested, self.reference)
        protocol = self._protocol(source, facts) | ({"sets": sets.protocol} if sets else {})
        return Evaluation(
            self.comparison.with_floor(generated, held_out),
            classification_report(
                self.extractor.class_names, generated, requested, held_out, list(self.held_out.labels)
            ),
            self.comparison.memorisation(generated, held_out),
            protocol,
            sets,
        )

    def _protocol(self, source: Source, facts: dict[str, Any]) -> dict[str, Any]:
        extractor, reference = self.extractor, self.reference
        assert self.comparison is not None
        return {
            "features": {
                "name": extractor.name,
                "sha256": extractor.sha256,
                "preprocessing": extractor.preprocessing,
                "dimensions": self.comparison.features.shape[1],
                **extractor.facts,
            },
            "gaussian_kernel_width": self.comparison.width,
            "counts": {
                "generated": len(source),
                "reference": len(reference.training),
                "held_out": len(reference.held_out),
            },
            "reference": {
                "data": type(reference.dataset).__name__,
                "content": reference.dataset.content,
                "shape": list(reference.dataset.shape),
                "holdout": reference.holdout,
                "seed": reference.seed,
            },
            "generated": {"labels": _hash([str(name) for name in source.labels]), **facts},
            "block": BLOCK,
            "machine": {"processor": platform.machine(), "threads": torch.get_num_threads()},
            "versions": {"python": platform.python_version(), **_versions()},
        }


def set_metric(reference: Reference) -> SetMetric | None:
    """The metric of sets of artifacts of the modality, if it has one."""
    name = reference.modality.set_metric
    if name is None:
        return None
    return instantiate(SetMetric, load_option("set_metric", name), modality=reference.modality)


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _versions() -> dict[str, str]:
    found = {}
    for package in ("multidiff-toolkit", "torch", "numpy", "pillow", "torch-fidelity", "transformers"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
