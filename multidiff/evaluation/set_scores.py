"""Scores of sets of artifacts, for modalities that have a `SetMetric`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from multidiff.evaluation.reference import Reference
from multidiff.evaluation.set_metric import SetMetric
from multidiff.evaluation.sources import Source
from multidiff.sampling.processes import Processes

FEWEST_OF_CLASS = 10
"""The smallest number of samples of which a class is scored separately."""


@dataclass(frozen=True)
class SetScore:
    """A score and its floor.

    Attributes:
        value: of the samples.
        floor: of as many real training samples, against the same held-out ones.
        best: "lower", "higher", or the best value.
    """

    value: float
    floor: float
    best: str

    @property
    def cost(self) -> float:
        """The score with a sign such that lower is better."""
        signs = {"lower": 1.0, "higher": -1.0}
        return signs[self.best] * self.value if self.best in signs else abs(self.value - float(self.best))


@dataclass(frozen=True)
class SetScores:
    """Scores of a set of samples against held-out real ones, as many of each class in both.

    Attributes:
        count: samples of either.
        together: of all classes in one set, by name.
        classes: of each class that has enough samples alone, by name.
        counts: samples of each of these classes.
        by_class: names of the scores that are printed for each class.
        protocol: everything that they depend on beside the samples.
    """

    count: int
    together: dict[str, SetScore]
    classes: dict[str, dict[str, SetScore]]
    counts: dict[str, int]
    by_class: tuple[str, ...]
    protocol: dict[str, Any]

    def mean(self, name: str) -> SetScore:
        """Score ``name``, averaged over the classes."""
        found = [scores[name] for scores in self.classes.values()]
        value, floor = (float(np.mean(figures)) for figures in zip(*((s.value, s.floor) for s in found), strict=True))
        return SetScore(value, floor, found[0].best)

    def worst(self, name: str) -> str:
        """The class that has the worst score ``name``."""
        return max(self.classes, key=lambda label: self.classes[label][name].cost)

    def record(self) -> dict[str, Any]:
        """Everything, for JSON."""

        def plain(scores: dict[str, SetScore]) -> dict[str, Any]:
            return {name: {"value": score.value, "floor": score.floor} for name, score in scores.items()}

        return {
            "count": self.count,
            "scores": plain(self.together),
            "mean_of_classes": plain({name: self.mean(name) for name in self.together} if self.classes else {}),
            "classes": {
                label: {"count": self.counts[label], "scores": plain(scores)} for label, scores in self.classes.items()
            },
        }


class Recording(Source):
    """A source that keeps what ``metric`` compares of its artifacts, so that nothing is generated twice."""

    def __init__(self, source: Source, metric: SetMetric):
        self.source, self.metric, self.labels = source, metric, source.labels
        self.forms: dict[int, list[Tensor]] = {}

    def block(self, number: int) -> list[Any]:
        artifacts = self.source.block(number)
        self.forms[number] = [self.metric.form(artifact) for artifact in artifacts]
        return artifacts

    def gathered(self, processes: Processes) -> Tensor | None:
        """The forms of all artifacts, ``(N, ...)``, from all processes; on process 0."""
        everything = processes.gather(self.forms)
        return None if processes.rank else torch.stack([form for number in self.blocks for form in everything[number]])


def set_scores(metric: SetMetric, forms: Tensor, requested: Sequence[str | None], reference: Reference) -> SetScores:
    """Scores of samples against held-out real ones; the floor is the score of real training samples.

    Args:
        metric: of the modality.
        forms: of the samples, ``(N, ...)``.
        requested: the class that each sample was generated for, if any.
        reference: the real data.
    """
    rows, counts = matched(requested, reference, metric.largest)
    generated, held_out, training = rows
    real = [_forms(metric, reference, indices) for indices in (held_out, training)]
    ends = np.cumsum([0, *counts.values()]).tolist()
    parts = {label: slice(*ends[i : i + 2]) for i, label in enumerate(counts) if counts[label] >= FEWEST_OF_CLASS}
    by_label = {str(label): part for label, part in parts.items() if label is not None}
    values, floors = metric.scores([forms[generated], real[1]], real[0], [slice(None), *by_label.values()])
    scored = [
        {name: SetScore(value[name], floor[name], best) for name, best in metric.best.items()}
        for value, floor in zip(values, floors, strict=True)
    ]
    return SetScores(
        len(generated),
        scored[0],
        dict(zip(by_label, scored[1:], strict=True)),
        {label: counts[label] for label in by_label},
        metric.by_class,
        {**metric.protocol, "count": len(generated)},
    )


def matched(
    requested: Sequence[str | None], reference: Reference, largest: int
) -> tuple[list[list[int]], dict[str | None, int]]:
    """Choose equally many samples, held-out and training data of each class, in the order of the classes.

    Unless every sample was requested with a label of the data, all count as one class, None.

    Returns:
        Rows of the samples, indices of the held-out and of the training data; and how many there are of each class.
    """
    labels = reference.dataset.labels
    names = labels.names if labels else ()
    known = bool(requested) and set(requested) <= set(names)
    classes: tuple[str | None, ...] = names if known else (None,)
    shuffled = np.random.default_rng(reference.seed)
    held_out, training = (shuffled.permutation(part).tolist() for part in (reference.held_out, reference.training))
    groups = [
        _grouped(range(len(requested)), requested if known else [None] * len(requested)),
        *(_grouped(part, [reference.label(i) if known else None for i in part]) for part in (held_out, training)),
    ]
    counts: dict[str | None, int] = {}
    for label in classes:
        counts[label] = min(largest // len(classes), *(len(group.get(label, [])) for group in groups))
    rows = [[i for label in classes for i in group.get(label, [])[: counts[label]]] for group in groups]
    return rows, counts


def _grouped(items: Iterable[int], labels: Sequence[str | None]) -> dict[str | None, list[int]]:
    groups: dict[str | None, list[int]] = {}
    for item, label in zip(items, labels, strict=True):
        groups.setdefault(label, []).append(item)
    return groups


def _forms(metric: SetMetric, reference: Reference, indices: Sequence[int]) -> Tensor:
    return torch.stack([metric.form(reference.artifact(i)) for i in indices])
