"""multidiff evaluate: scores with the protocol that they hold under, as a table, as JSON, and as a page."""

import multiprocessing
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from multidiff.cli.processes import device_of, joined, launched
from multidiff.cli.subject import data_of, subject_of
from multidiff.configuration import described, instantiate
from multidiff.data.files import atomic_path
from multidiff.errors import InputError
from multidiff.evaluation.evaluation import Evaluation, Evaluator, require_enough
from multidiff.evaluation.features import Extractor, Features
from multidiff.evaluation.reference import Reference
from multidiff.evaluation.report import Sweep, page
from multidiff.evaluation.sets import SetScore, SetScores
from multidiff.evaluation.sources import Drawn, Source
from multidiff.evaluation.table import header, rows
from multidiff.sampling.processes import Processes
from multidiff.sampling.request import Changes

SWEPT_STEPS = (4, 8, 16, 32, 64)
SWEPT_GUIDANCE = (1.0, 1.5, 2.0, 3.0, 4.0)


@dataclass(frozen=True)
class Request:
    """What the command line asks for; its help explains each."""

    model: str | None
    generated: Path | None
    data: str
    modality: str | None
    features: str | None
    samples: int
    changes: Changes
    seed: int
    batch_size: int
    holdout: float | None
    split_seed: int | None
    sweep: bool
    processes: int
    json: Path | None
    report: Path | None


def run(request: Request) -> None:
    """Evaluate, alone, with processes of our own, or as one of those that torchrun started."""
    if (request.model is None) == (request.generated is None):
        raise InputError("give either a MODEL to draw samples from, or --generated DIR with samples that are there")
    if request.processes < 1 or request.batch_size < 1:
        wrong = "--processes" if request.processes < 1 else "--batch-size"
        raise InputError(f"{wrong} must be at least 1, got {min(request.processes, request.batch_size)}")
    require_enough(request.samples)
    for path in (request.json, request.report):
        if path is not None and path.is_dir():
            raise InputError(f"{path} is a folder: name a file to write to")
    if request.sweep and request.model is None:
        raise InputError("--sweep draws samples at several settings, so it needs a MODEL")
    with launched() as processes:
        if processes.count == 1 and request.processes > 1:
            _with_children(request)
        else:
            evaluate(request, processes)


def evaluate(request: Request, processes: Processes) -> None:
    """Evaluate as one of ``processes``; process 0 writes and prints."""
    subject = subject_of(request.model, request.generated, request.modality, device_of(processes))
    dataset = data_of(request.data, subject)  # before the modality is asked for, which may learn from it
    reference = Reference(
        subject.modality,
        dataset,
        subject.holdout if request.holdout is None else request.holdout,
        subject.split_seed if request.split_seed is None else request.split_seed,
    )
    source, facts = subject.source(reference, request.samples, request.seed, **request.changes)
    require_enough(len(source))
    extractor = _extractor(request, reference, processes)
    sweeps = _swept(source) if request.sweep and isinstance(source, Drawn) else {}
    rounds = 1 + sum(len(points) for points in sweeps.values())
    total = len(source) * rounds + len(reference.training) + len(reference.held_out)
    with Progress(transient=True, disable=processes.rank > 0) as progress:
        task = progress.add_task("evaluating", total=total)

        def advance(count: int) -> None:
            progress.advance(task, count)

        evaluator = Evaluator(reference, extractor, processes, batch_size=request.batch_size, advance=advance)
        evaluation = evaluator.evaluate(source, facts, advance)
        curves: dict[str, Sweep] = {
            setting: {value: evaluator.distances(point, advance) or {} for value, point in points.items()}
            for setting, points in sweeps.items()
        }
    if evaluation is None:
        return
    _show(evaluation)
    if request.json:
        with atomic_path(request.json) as path:
            path.write_text(evaluation.to_json(curves))
    if request.report:
        with atomic_path(request.report) as path:
            path.write_text(page(f"Evaluation of {subject.name}", evaluation, evaluator, source, curves))
        print(f"report in {request.report}")


def _extractor(request: Request, reference: Reference, processes: Processes) -> Extractor:
    asked = request.features or reference.modality.features
    if asked is None:
        raise InputError(f"{reference.modality.name}s have no features of their own: say which with --features")
    features: Features = instantiate(described("features", asked))
    device = device_of(processes)
    if processes.rank:
        processes.wait()  # process 0 trains and caches what must be trained
        return features.extractor(reference, device)
    extractor = features.extractor(reference, device)
    for name, fact in extractor.facts.items():
        print(f"{extractor.name}: {name} {fact:.1%}" if isinstance(fact, float) else f"{extractor.name}: {name} {fact}")
    processes.wait()
    return extractor


def _swept(source: Drawn) -> dict[str, dict[float, Source]]:
    def changed(**changes: Unpack[Changes]) -> Source:
        return Drawn(source.pipeline, source.sampling.changed(**changes), source.asked, source.seed)

    sweeps: dict[str, dict[float, Source]] = {"steps": {steps: changed(steps=steps) for steps in SWEPT_STEPS}}
    if any(source.asked):
        sweeps["guidance"] = {scale: changed(guidance=scale) for scale in SWEPT_GUIDANCE}
    return sweeps


def _show(evaluation: Evaluation) -> None:
    features, counts, reference = (evaluation.protocol[part] for part in ("features", "counts", "reference"))
    print(f"features: {features['name']} {features['sha256'][:12]} ({features['preprocessing']})")
    print(
        f"{counts['generated']} samples beside {counts['reference']} real ones, {counts['held_out']} more held out, "
        f"of {reference['data']} {reference['content'][:12]}"
    )
    table = Table(*header(evaluation), box=None)
    for row in rows(evaluation):
        table.add_row(*row)
    Console().print(table)
    if evaluation.sets:
        _show_sets(evaluation.sets)
    nearer = evaluation.memorisation.nearer
    print(f"nearer to the training data than held-out samples: {nearer:.1%} (50 % if alike)")


def _show_sets(sets: SetScores) -> None:
    table = Table(f"against {sets.count} real, held out", f"{sets.count} samples", f"{sets.count} real", box=None)
    for name, score in sets.together.items():
        table.add_row(f"{name} ({score.best} is best)", f"{score.value:.4g}", f"{score.floor:.4g}")
    print()
    Console().print(table)
    if sets.classes:
        by_class = Table("class", "count", *(part for name in sets.by_class for part in (name, "real")), box=None)
        for label, scores in sets.classes.items():
            cells = (scores[name] for name in sets.by_class)
            by_class.add_row(label, str(sets.counts[label]), *_both(cells))
        by_class.add_row("mean", "", *_both(sets.mean(name) for name in sets.by_class))
        print()
        Console().print(by_class)
    print(", ".join(f"{key} {value}" for key, value in sets.protocol.items()))


def _both(scores: Iterable[SetScore]) -> list[str]:
    return [f"{figure:.3g}" for score in scores for figure in (score.value, score.floor)]


def _with_children(request: Request) -> None:
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        meeting = f"file://{folder}/meeting"
        arguments = [(request, meeting, rank, torch.get_num_threads()) for rank in range(1, request.processes)]
        children = [context.Process(target=_child, args=each, daemon=True) for each in arguments]
        for child in children:
            child.start()
        try:
            with joined(meeting, 0, request.processes) as group:
                evaluate(request, group)
        except BaseException:
            for child in children:
                child.terminate()
            raise
        finally:
            for child in children:
                child.join()


def _child(request: Request, meeting: str, rank: int, threads: int) -> None:
    torch.set_num_threads(threads)
    with joined(meeting, rank, request.processes) as group:
        evaluate(request, group)
