"""multidiff evaluate: scores as a table, as JSON, and as a page."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multidiff.cli import options

if TYPE_CHECKING:
    from multidiff.evaluation import Evaluation, EvaluationSettings, Extractor, SetScores
    from multidiff.sampling.processes import Processes


def evaluate(
    data: Annotated[str, typer.Option(help="Real data: a folder, or a data config: 'NAME KEY=VALUE ...'.")],
    model: Annotated[str | None, typer.Argument(help="A run or model directory, or a bundled model.")] = None,
    generated: Annotated[Path | None, typer.Option(help="Folder of samples to score instead of a model.")] = None,
    modality: Annotated[
        str | None, typer.Option(help="Modality config of --generated. Default: from samples.json, else image.")
    ] = None,
    features: Annotated[
        str | None, typer.Option(help="A features config: 'NAME KEY=VALUE ...'. Default: the modality's.")
    ] = None,
    samples: Annotated[int, typer.Option(help="Number of samples.")] = 2000,
    sampler: options.SamplerName = None,
    steps: options.Steps = None,
    guidance: options.Scale = None,
    guidance_rule: options.Rule = None,
    seed: Annotated[int, typer.Option(help="Seed of the samples, as for sample.")] = 0,
    batch_size: options.BatchSize = None,
    holdout: Annotated[
        float | None, typer.Option(help="Fraction of the data held out of training. Default: the model's.")
    ] = None,
    split_seed: Annotated[int | None, typer.Option(help="Seed of the hold-out split. Default: the model's.")] = None,
    sweep: Annotated[bool, typer.Option("--sweep", help="Also score other steps and guidance scales.")] = False,
    processes: Annotated[int, typer.Option(help="Number of processes; scores do not depend on it.")] = 1,
    json: Annotated[Path | None, typer.Option(help="JSON file for the scores and the settings they depend on.")] = None,
    report: Annotated[Path | None, typer.Option(help="HTML report with pictures and plots.")] = None,
) -> None:
    """Score a model or files against real data."""
    from multidiff.cli.processes import launched, shared
    from multidiff.errors import InputError
    from multidiff.evaluation import EvaluationSettings

    settings = EvaluationSettings(
        data,
        model,
        generated,
        modality,
        features,
        samples,
        {"sampler": sampler, "steps": steps, "guidance": guidance, "guidance_rule": guidance_rule},
        seed,
        batch_size,
        holdout,
        split_seed,
        sweep,
    )
    if processes < 1:
        raise InputError(f"--processes must be at least 1, got {processes}")
    for path in (json, report):
        if path is not None and path.is_dir():
            raise InputError(f"{path} is a folder: name a file to write to")
    with launched() as group:
        if group.count == 1 and processes > 1:
            shared(run, processes, settings, json, report)
        else:
            run(group, settings, json, report)


def run(processes: "Processes", settings: "EvaluationSettings", json: Path | None, report: Path | None) -> None:
    """Evaluate as one of ``processes``; process 0 writes and prints."""
    from multidiff.cli.processes import device_of
    from multidiff.data.files import new_file
    from multidiff.data.progress import advancing
    from multidiff.evaluation import EvaluationRun

    evaluation = EvaluationRun(settings, processes, device_of(processes))
    if not processes.rank:
        _print_facts(evaluation.extractor)
    with advancing(evaluation.total, "Evaluating {} samples, generated and real", silent=processes.rank > 0) as advance:
        result = evaluation.result(advance)
    if result is None:
        return
    _print(result.evaluation)
    if json:
        with new_file(json) as path:
            path.write_text(result.to_json(), "utf-8")
    if report:
        with new_file(report) as path:
            path.write_text(result.to_html(), "utf-8")
        print(f"report in {report}")


def _print_facts(extractor: "Extractor") -> None:
    for name, fact in extractor.facts.items():
        print(f"{extractor.name}: {name} {fact:.1%}" if isinstance(fact, float) else f"{extractor.name}: {name} {fact}")


def _print(evaluation: "Evaluation") -> None:
    from multidiff.evaluation import header, rows

    features, counts, reference = (evaluation.protocol[part] for part in ("features", "counts", "reference"))
    print(f"features: {features['name']} {features['sha256'][:12]} ({features['preprocessing']})")
    print(
        f"{counts['generated']} samples against {counts['reference']} real ones, {counts['held_out']} more held out, "
        f"of {reference['data']} {reference['content'][:12]}"
    )
    fidelity = evaluation.protocol["generated"].get("fidelity")
    if fidelity:
        figures = ", ".join(f"{name} {value:.4g}" for name, value in fidelity.items())
        print(f"reconstructions of held-out data: {figures}")
    _print_table(header(evaluation), rows(evaluation))
    if evaluation.sets:
        _print_sets(evaluation.sets)
    nearer = evaluation.memorisation.nearer
    print(f"nearer to the training data than held-out samples: {nearer:.1%} (50 % if distributed like held-out ones)")


def _print_sets(sets: "SetScores") -> None:
    scores = sets.together.items()
    print()
    _print_table(
        [f"against {sets.count} real, held out", f"{sets.count} samples", f"{sets.count} real"],
        ([f"{name} ({score.best} is best)", f"{score.value:.4g}", f"{score.floor:.4g}"] for name, score in scores),
    )
    if sets.classes:
        classes = [
            [label, str(sets.counts[label]), *_figures(scores[name] for name in sets.by_class)]
            for label, scores in sets.classes.items()
        ]
        mean = ["mean", "", *_figures(sets.mean(name) for name in sets.by_class)]
        print()
        _print_table(["class", "count", *(part for name in sets.by_class for part in (name, "real"))], [*classes, mean])
    print(", ".join(f"{key} {value}" for key, value in sets.protocol.items()))


def _figures(scores: Iterable[Any]) -> list[str]:
    return [f"{figure:.3g}" for score in scores for figure in (score.value, score.floor)]


def _print_table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*head, box=None)
    for row in rows:
        table.add_row(*row)
    Console(markup=False).print(table)
