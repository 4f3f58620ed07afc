"""One evaluation: samples, real data and features in; scores, with the protocol that they hold under, out."""

import hashlib
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from multidiff.errors import InputError
from multidiff.evaluation.features import Extractor, Seen, seen
from multidiff.evaluation.memorisation import Memorisation
from multidiff.evaluation.reference import FEWEST, Reference
from multidiff.evaluation.scores import Comparison, Reading, Score, reading
from multidiff.evaluation.sets import Remembering, SetScores, set_scores
from multidiff.evaluation.sources import BLOCK, Real, Source
from multidiff.sampling.processes import Processes

FORMAT = 1
CLOSEST = 12
"""Pairs of a sample and its nearest training sample that are reported."""

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Evaluation:
    """What samples scored.

    Attributes:
        scores: by name.
        reading: by a classifier, if there is one.
        memorisation: distances to the training data.
        protocol: all that the scores depend on.
        sets: scores of the samples themselves, if the modality has such.
    """

    scores: dict[str, Score]
    reading: Reading | None
    memorisation: Memorisation
    protocol: dict[str, Any]
    sets: SetScores | None = None

    def to_json(self, sweeps: Mapping[str, Any] | None = None) -> str:
        """Everything, with further scores by the setting they were taken at, and nothing that changes with the run."""
        memory = self.memorisation
        record = {
            "format": FORMAT,
            "scores": {name: asdict(score) for name, score in self.scores.items()},
            "classifier": None if self.reading is None else asdict(self.reading),
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
        return json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def require_enough(count: int) -> None:
    """Refuse to evaluate so few samples that no distance has an error bar.

    Raises:
        InputError: there are fewer than `FEWEST`.
    """
    if count < FEWEST:
        raise InputError(f"an evaluation needs at least {FEWEST} samples, got {count}")


class Evaluator:
    """Real data as an extractor sees it, to which any number of sets of samples can be compared.

    All processes make one, together, and compare together; process 0 has the answers.

    Args:
        reference: the real data.
        extractor: of the features.
        processes: that share the work.
        batch_size: artifacts held in memory at once; it changes no digit.
        advance: told how many artifacts are done, as they are.
    """

    def __init__(
        self,
        reference: Reference,
        extractor: Extractor,
        processes: Processes | None = None,
        *,
        batch_size: int = BLOCK,
        advance: Advance = lambda count: None,
    ):
        self.reference, self.extractor, self.batch_size = reference, extractor, batch_size
        self.processes = processes or Processes()
        self.training = Real(reference, reference.training)
        self.held_out = Real(reference, reference.held_out)
        training, held_out = self.look(self.training, advance), self.look(self.held_out, advance)
        self._held_out_seen = held_out
        self.comparison = None if training is None else Comparison(training, extractor.gaussian_width)

    def look(self, source: Source, advance: Advance) -> Seen | None:
        """What the extractor sees in ``source``, on process 0.

        Raises:
            InputError: it is not finite.
        """
        with self.processes.working():
            found = seen(self.extractor, source, self.processes, batch_size=self.batch_size, advance=advance)
        if found is not None and not bool(found.features.isfinite().all()):
            raise InputError(f"features by {self.extractor.name} are not finite: its weights or a file are damaged")
        return found

    def distances(self, source: Source, advance: Advance = lambda count: None) -> dict[str, float] | None:
        """The quick scores of ``source``, on process 0."""
        generated = self.look(source, advance)
        if generated is None or self.comparison is None:
            return None
        return self.comparison.distances(generated)

    def evaluate(
        self, source: Source, facts: dict[str, Any], advance: Advance = lambda count: None
    ) -> Evaluation | None:
        """All scores of ``source``, on process 0; ``facts`` about it go into the protocol.

        Raises:
            InputError: there are too few samples for error bars.
        """
        require_enough(len(source))
        measure = self.reference.modality.set_measure()
        remembering = None if measure is None else Remembering(source, measure)
        generated = self.look(remembering or source, advance)
        forms = None if remembering is None else remembering.gathered(self.processes)
        if generated is None or self.comparison is None or self._held_out_seen is None:
            return None
        held_out = self._held_out_seen
        sets = None if measure is None or forms is None else set_scores(measure, forms, source.asked, self.reference)
        protocol = self._protocol(source, facts) | ({"sets": sets.protocol} if sets else {})
        return Evaluation(
            self.comparison.with_floor(generated, held_out),
            reading(self.extractor.class_names, generated, list(source.asked), held_out, list(self.held_out.asked)),
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
            "generated": {"asked": _hash([str(name) for name in source.asked]), **facts},
            "block": BLOCK,
            "machine": {"processor": platform.machine(), "threads": torch.get_num_threads()},
            "versions": {"python": platform.python_version(), **_versions()},
        }


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
