"""Scores of samples themselves, with no features between, for the modalities that have a `SetMeasure`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from multidiff.evaluation.reference import Reference
from multidiff.evaluation.sources import Source
from multidiff.sampling.processes import Processes
from multidiff.set_metric import SetMeasure

FEWEST_OF_CLASS = 10
"""Samples of a class below which it has no scores of its own."""


@dataclass(frozen=True)
class SetScore:
    """One figure with what it must be read against.

    Attributes:
        value: of the samples.
        floor: of as many real training samples, against the same held-out ones.
        best: what is best: "lower", "higher", or a value.
    """

    value: float
    floor: float
    best: str

    @property
    def badness(self) -> float:
        """Larger is worse."""
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
        protocol: all that they depend on beside the samples.
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
        return max(self.classes, key=lambda label: self.classes[label][name].badness)

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


class Remembering(Source):
    """Gives what ``source`` does, and remembers what ``measure`` compares of it, so that nothing is drawn twice."""

    def __init__(self, source: Source, measure: SetMeasure):
        self.source, self.measure, self.asked = source, measure, source.asked
        self.forms: dict[int, list[Tensor]] = {}

    def block(self, number: int) -> list[Any]:
        artifacts = self.source.block(number)
        self.forms[number] = [self.measure.form(artifact) for artifact in artifacts]
        return artifacts

    def gathered(self, processes: Processes) -> Tensor | None:
        """The forms of all artifacts, ``(N, ...)``, which all processes together have given; on process 0."""
        everything = processes.gather(self.forms)
        return None if processes.rank else torch.stack([form for number in self.blocks for form in everything[number]])


def set_scores(measure: SetMeasure, forms: Tensor, asked: Sequence[str | None], reference: Reference) -> SetScores:
    """What ``measure`` finds of samples against held-out real ones, with its floor: real training samples.

    Args:
        measure: of the modality.
        forms: of the samples, ``(N, ...)``.
        asked: the label that each was made for, if any.
        reference: the real data.
    """
    rows, counts = matched(asked, reference, measure.largest)
    made, held_out, training = rows
    real = [_forms(measure, reference, indices) for indices in (held_out, training)]
    ends = np.cumsum([0, *counts.values()]).tolist()
    parts = {label: slice(*ends[i : i + 2]) for i, label in enumerate(counts) if counts[label] >= FEWEST_OF_CLASS}
    by_label = {str(label): part for label, part in parts.items() if label is not None}
    values, floors = measure.scores([forms[made], real[1]], real[0], [slice(None), *by_label.values()])
    scored = [
        {name: SetScore(value[name], floor[name], best) for name, best in measure.best.items()}
        for value, floor in zip(values, floors, strict=True)
    ]
    return SetScores(
        len(made),
        scored[0],
        dict(zip(by_label, scored[1:], strict=True)),
        {label: counts[label] for label in by_label},
        measure.by_class,
        {**measure.protocol, "count": len(made)},
    )


def matched(
    asked: Sequence[str | None], reference: Reference, largest: int
) -> tuple[list[list[int]], dict[str | None, int]]:
    """Which samples, held-out and training ones are compared: as many of each class, class after class.

    Where not all samples were asked for by a label of the data, all count as one class, None.

    Returns:
        Rows of the samples, indices of the held-out and of the training data; and how many there are of each class.
    """
    labels = reference.dataset.label_names
    known = bool(asked) and set(asked) <= set(labels)
    classes: tuple[str | None, ...] = labels if known else (None,)
    shuffled = np.random.default_rng(reference.seed)
    held_out, training = (shuffled.permutation(part).tolist() for part in (reference.held_out, reference.training))
    groups = [
        _grouped(range(len(asked)), asked if known else [None] * len(asked)),
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


def _forms(measure: SetMeasure, reference: Reference, indices: Sequence[int]) -> Tensor:
    return torch.stack([measure.form(reference.artifact(i)) for i in indices])
