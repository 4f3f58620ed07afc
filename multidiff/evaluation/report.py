"""The report: one page that shows what the scores cannot."""

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from multidiff.evaluation.evaluation import CLOSEST, Evaluation, Evaluator
from multidiff.evaluation.plots import histogram, lines
from multidiff.evaluation.scores import LOWER_IS_BETTER, Reading, Score
from multidiff.evaluation.sets import SetScores
from multidiff.evaluation.sources import BLOCK, Source

SHOWN = 64
"""Samples in a preview."""

Sweep = Mapping[float, Mapping[str, float]]
"""Quick scores at each of several settings."""

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse } th, td { padding: .2rem .7rem; text-align: right }
th:first-child, td:first-child { text-align: left } tr { border-bottom: 1px solid #ddd }
figure { display: inline-block; margin: .5rem 1rem .5rem 0 } figcaption, .note { color: #666; font-size: 13px }
img { max-width: 29rem } pre { font-size: 12px; overflow-x: auto } svg { max-width: 100%; height: auto }
"""


def page(title: str, evaluation: Evaluation, evaluator: Evaluator, source: Source, sweeps: Mapping[str, Sweep]) -> str:
    """The report as HTML that needs nothing else.

    Args:
        title: of the page.
        evaluation: what ``source`` scored.
        evaluator: that scored it.
        source: of the samples.
        sweeps: quick scores over the values of a setting, by its name.
    """
    sections = [
        f"<h1>{html.escape(title)}</h1>",
        _scores(evaluation.scores),
        *([_sets(evaluation.sets)] if evaluation.sets else []),
        _previews(evaluator, source),
        *(_sweep(setting, sweep) for setting, sweep in sweeps.items()),
        _memorisation(evaluation, evaluator, source),
        *([_reading(evaluation.reading)] if evaluation.reading else []),
        "<h2>Protocol</h2><p class=note>All that the figures depend on.</p>"
        f"<pre>{html.escape(json.dumps(evaluation.protocol, indent=2, ensure_ascii=False))}</pre>",
    ]
    head = f"<meta charset=utf-8><title>{html.escape(title)}</title><style>{_STYLE}</style>"
    return f"<!doctype html>\n<html lang=en><head>{head}</head><body>\n" + "\n".join(sections) + "\n</body></html>\n"


def _scores(scores: Mapping[str, Score]) -> str:
    shown = {name: score for name, score in scores.items() if not name.endswith("_error")}
    count = next(iter(shown.values())).count
    rows = [
        [
            f"{name.replace('_', ' ')} {'↓' if name in LOWER_IS_BETTER else '↑'}",
            _with_error(name, scores, "value"),
            f"{score.at_floor_count:.4g}",
            f"{score.floor:.4g}",
        ]
        for name, score in shown.items()
    ]
    header = ["", "all samples", f"first {count} samples", f"{count} real, held out"]
    note = "The last column is what real data scores: nothing should be expected to pass it. Compare it with the third."
    return f"<h2>Scores</h2>{_table(header, rows)}<p class=note>{note} ↓ lower is better, ↑ higher is better.</p>"


def _sets(sets: SetScores) -> str:
    names = list(sets.together)
    columns = {f"all {sets.count}": sets.together}
    if sets.classes:
        columns["mean of classes"] = {name: sets.mean(name) for name in names}
    columns |= {f"{label} ({sets.counts[label]})": scores for label, scores in sets.classes.items()}
    rows = [
        [
            f"{name.replace('_', ' ')} ({sets.together[name].best} is best)",
            *(f"{scores[name].value:.3g} ({scores[name].floor:.3g})" for scores in columns.values()),
        ]
        for name in names
    ]
    note = "; ".join(f"{name}: {fact}" for name, fact in sets.protocol.items())
    return (
        f"<h2>Sets of samples</h2>{_table(['', *columns], rows)}"
        f"<p class=note>Against as many held-out real samples; in brackets what real training samples score. "
        f"{html.escape(note)}</p>"
    )


def _with_error(name: str, scores: Mapping[str, Score], field: str) -> str:
    error = scores.get(f"{name}_error")
    return f"{getattr(scores[name], field):.4g}" + (f" ± {getattr(error, field):.2g}" if error else "")


def _previews(evaluator: Evaluator, source: Source) -> str:
    modality = evaluator.reference.modality
    generated = _figure(modality.preview(source.first(SHOWN)), "samples")
    real = _figure(modality.preview(evaluator.held_out.first(SHOWN)), "real, held out")
    return f"<h2>Samples</h2>{generated}{real}"


def _sweep(setting: str, sweep: Sweep) -> str:
    names = next(iter(sweep.values())).keys()
    plot = lines(list(sweep), {name: [scores[name] for scores in sweep.values()] for name in names}, setting)
    return f"<h2>Quality against {html.escape(setting)}</h2>{plot}"


def _memorisation(evaluation: Evaluation, evaluator: Evaluator, source: Source) -> str:
    memory = evaluation.memorisation
    drawn: dict[int, list[Any]] = {}
    figures = []
    for sample, real in memory.closest(CLOSEST):
        number = sample // BLOCK
        drawn[number] = drawn.get(number) or source.block(number)
        index = evaluator.training.indices[real]
        pair = [drawn[number][sample % BLOCK], evaluator.reference.artifact(index)]
        caption = f"sample {sample} and training sample {index}, {memory.distances[sample]:.3g} apart"
        figures.append(_figure(evaluator.reference.modality.preview(pair), caption))
    plot = histogram(
        {"samples": memory.distances, "real, held out": memory.held_out}, "distance to the nearest training sample"
    )
    note = (
        f"A sample is nearer to the training data than a held-out real one with a chance of {memory.nearer:.1%} "
        f"(50 % if alike); {memory.suspicious:.1%} of the samples are nearer than all but 1 % of the held-out ones."
    )
    return f"<h2>Memorisation</h2><p>{note}</p>{plot}<h3>Closest pairs</h3>{''.join(figures)}"


def _reading(reading: Reading) -> str:
    names = list(reading.class_names)
    rows = [[name, *map(str, row)] for name, row in zip(names, reading.table, strict=True)]
    note = (
        f"{reading.accuracy:.1%} of the samples are read as what they were made for; of the real held-out ones, "
        f"{reading.floor:.1%}. Rows: asked for; columns: read as."
    )
    return f"<h2>Classes</h2><p>{note}</p>{_table(['', *names], rows)}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return f"<table>{row(header, 'th')}{''.join(row(cells, 'td') for cells in rows)}</table>"


def _figure(picture: Image.Image, caption: str) -> str:
    data = io.BytesIO()
    picture.save(data, format="PNG")
    source, text = f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}", html.escape(caption)
    return f'<figure><img src="{source}" alt="{text}"><figcaption>{text}</figcaption></figure>'
