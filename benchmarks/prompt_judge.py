"""Whether samples show what their prompts say: the kind, and each word of the prompt, measured on the sample alone.

Models with classes also make a sample of the class of each prompt, without the prompt.
A word such as "short" is right if the measure, a decay in seconds, lies on the side of real samples with that word. The
boundary is the one that separates real samples with each word best; a count must be equal.
"""

import argparse
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

import multidiff
from multidiff.sampling.pipeline import Pipeline

COUNTS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5}

CALIBRATION_SEED, PROMPT_SEED = 2000, 1000
"""Of the real samples that calibrate the judge, and of those whose captions are the prompts. Training has 0."""

Right = Mapping[str, bool]
"""By attribute."""


@dataclass(frozen=True)
class Case:
    """A prompt.

    Attributes:
        prompt: a caption of a real sample.
        kind: the class that it names.
        words: what it says, by attribute: ``{"decay": "short", "legs": "three"}``.
    """

    prompt: str
    kind: str
    words: Mapping[str, str]


@dataclass(frozen=True)
class Subject:
    """What is judged.

    Attributes:
        real: from a count and a seed to real artifacts with their cases.
        features: of an artifact, from which a support vector machine reads the kind.
        measures: numbers by attribute, of an artifact of a kind.
    """

    real: Callable[[int, int], tuple[Sequence[Any], Sequence[Case]]]
    features: Callable[[Any], np.ndarray]
    measures: Callable[[str, Any], Mapping[str, float]]


class Judge:
    """Reads kinds and words from artifacts, after calibration on real ones."""

    def __init__(self, subject: Subject, artifacts: Sequence[Any], cases: Sequence[Case]):
        self.subject = subject
        features = [subject.features(artifact) for artifact in artifacts]
        self.kinds = make_pipeline(StandardScaler(), SVC(C=10)).fit(features, [case.kind for case in cases])
        known: dict[tuple[str, str], list[tuple[float, str]]] = defaultdict(list)
        for artifact, case in zip(artifacts, cases, strict=True):
            measures = subject.measures(case.kind, artifact)
            for attribute, word in case.words.items():
                if word not in COUNTS:
                    known[case.kind, attribute].append((measures[attribute], word))
        self.words = {key: _boundary(pairs) for key, pairs in known.items()}

    def __call__(self, artifact: Any, case: Case) -> Right:
        """Which statements of ``case`` are true of ``artifact``."""
        measures = self.subject.measures(case.kind, artifact)
        right = {"kind": self.kinds.predict([self.subject.features(artifact)])[0] == case.kind}
        for attribute, word in case.words.items():
            number = measures[attribute]
            counted = COUNTS.get(word)
            shown = self.words[case.kind, attribute].predict([[number]])[0] if counted is None else number
            right[attribute] = bool(shown == (word if counted is None else counted))
        return right


def _boundary(pairs: Sequence[tuple[float, str]]) -> DecisionTreeClassifier:
    """The threshold between two words that separates real samples best."""
    numbers, words = zip(*pairs, strict=True)
    return DecisionTreeClassifier(max_leaf_nodes=2).fit(np.array(numbers)[:, None], words)


def main(description: str, subject: Subject) -> None:
    """Judge real samples and, if a model is given, its samples; the command line of a benchmark."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="a run or model directory; without one, only real samples are judged")
    parser.add_argument("--prompts", type=int, default=400, help="captions of real samples that training never had")
    parser.add_argument("--calibration", type=int, default=2400, help="real samples for the boundaries between words")
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 2.0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of sampling")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    judge = Judge(subject, *subject.real(options.calibration, CALIBRATION_SEED))
    artifacts, cases = subject.real(options.prompts, PROMPT_SEED)
    rows = {"real": judged(judge, artifacts, cases)}
    pipeline = multidiff.load(options.model) if options.model else None
    for guidance in options.guidance if pipeline else ():
        for source, (condition, asked) in conditions(pipeline, cases).items():
            artifacts = pipeline.sample(
                options.prompts,
                **condition,
                steps=options.steps,
                guidance=guidance,
                seed=options.seed,
                batch_size=options.batch_size,
            )
            rows[f"{source}, guidance {guidance:g}"] = judged(judge, artifacts, asked)
    for source, row in rows.items():
        print(f"{source}, {options.prompts} prompts, {options.steps} steps:\n{shown(row)}")
    if options.json:
        figures = {"prompts": options.prompts, "steps": options.steps, "seed": options.seed, "rows": rows}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def conditions(pipeline: Pipeline, cases: Sequence[Case]) -> dict[str, tuple[dict[str, list[str]], Sequence[Case]]]:
    """What the model is given, by name, with what its samples must show: prompts, and classes alone if it has them."""
    found: dict[str, tuple[dict[str, list[str]], Sequence[Case]]] = {
        "prompts": ({"prompt": [case.prompt for case in cases]}, cases)
    }
    if "label" in pipeline.model.conditioner.reads:
        kinds = [case.kind for case in cases]
        found["classes"] = ({"label": kinds}, [Case("", kind, {}) for kind in kinds])
    return found


def judged(judge: Judge, artifacts: Sequence[Any], cases: Sequence[Case]) -> dict[str, dict[str, list[float]]]:
    """The share that is right and the number of prompts, by kind, of which "all" is one, and by attribute."""
    right: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for artifact, case in zip(artifacts, cases, strict=True):
        for attribute, agrees in judge(artifact, case).items():
            for kind in ("all", case.kind):
                right[kind][attribute].append(agrees)
    return {
        kind: {name: [statistics.mean(values), len(values)] for name, values in columns.items()}
        for kind, columns in right.items()
    }


def shown(row: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """A line for each kind: the share of each attribute that is right, with its standard error."""
    lines = []
    for kind, columns in row.items():
        parts = [
            f"{name} {share:.1%} ± {math.sqrt(share * (1 - share) / count):.1%}"
            for name, (share, count) in columns.items()
        ]
        lines.append(f"  {kind}: " + "  ".join(parts))
    return "\n".join(lines)
