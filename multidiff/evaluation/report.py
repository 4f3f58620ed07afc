"""The report: one HTML page with scores, pictures and plots."""

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from multidiff.evaluation import table
from multidiff.evaluation.evaluation import CLOSEST, Evaluation, Evaluator
from multidiff.evaluation.plots import histogram, lines
from multidiff.evaluation.scores import ClassificationReport
from multidiff.evaluation.set_scores import SetScores
from multidiff.evaluation.sources import BLOCK, Source
from multidiff.evaluation.table import title

SHOWN = 64
"""Samples in a preview."""

Sweep = Mapping[float, Mapping[str, float]]
"""Quick scores at each of several settings."""

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h2 { margin-top: 2.5rem } .note, figcaption { color: #666; font-size: 13px }
.wide { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .2rem .7rem; text-align: right; white-space: nowrap } tr { border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left }
@media (max-width: 40rem) {
  body { font-size: 13px } th, td { padding: .2rem .3rem; white-space: normal }
  th:first-child, td:first-child { padding-left: 0; hyphens: auto; overflow-wrap: anywhere; min-width: 4.5rem }
}
.side-by-side { display: flex; flex-wrap: wrap; gap: 1rem 1.5rem } figure { margin: 0 }
.side-by-side figure { flex: 1 1 20rem; max-width: 30rem } .side-by-side img { width: 100% }
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: 1.2rem }
.pairs img { max-width: 100% }
img { display: block } svg { max-width: 100%; height: auto } pre { font-size: 12px; overflow-x: auto }
"""


def page(
    heading: str, evaluation: Evaluation, evaluator: Evaluator, source: Source, sweeps: Mapping[str, Sweep]
) -> str:
    """The report as one self-contained HTML page.

    Args:
        heading: of the page.
        evaluation: the scores of ``source``.
        evaluator: that computed them.
        source: of the samples.
        sweeps: quick scores over the values of a setting, by its name.
    """
    sections = [
        f"<h1>{html.escape(heading)}</h1>",
        _summary(evaluation.protocol),
        _scores(evaluation),
        *([_sets(evaluation.sets)] if evaluation.sets else []),
        _previews(evaluator, source),
        *(_sweep(setting, sweep) for setting, sweep in sweeps.items()),
        _memorisation(evaluation, evaluator, source),
        *([_classification(evaluation.classification)] if evaluation.classification else []),
        "<h2>Protocol</h2><p class=note>Everything that the scores depend on.</p>"
        f"<pre>{html.escape(json.dumps(evaluation.protocol, indent=2, ensure_ascii=False))}</pre>",
    ]
    head = (
        "<meta charset=utf-8><meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>{html.escape(heading)}</title><style>{_STYLE}</style>"
    )
    return f"<!doctype html>\n<html lang=en><head>{head}</head><body>\n" + "\n".join(sections) + "\n</body></html>\n"


def _summary(protocol: Mapping[str, Any]) -> str:
    counts, generated = protocol["counts"], protocol["generated"]
    sampler = generated.get("sampler")
    how = f", by {sampler['name']} in {sampler['steps']} steps, guidance {generated['guidance']}" if sampler else ""
    return (
        f"<p>{counts['generated']} samples{html.escape(how)}; compared with {counts['reference']} real ones by the "
        f"features {html.escape(protocol['features']['name'])}.</p>"
    )


def _scores(evaluation: Evaluation) -> str:
    note = (
        "The last column is the score of held-out real data, the best that can be expected. Compare it with the column "
        "before it, which has as many samples. ↓ lower is better, ↑ higher is better. ± is a standard error."
    )
    return f"<h2>Scores</h2>{_table(table.header(evaluation), table.rows(evaluation))}<p class=note>{note}</p>"


def _sets(sets: SetScores) -> str:
    names = list(sets.together)
    columns = {f"all {sets.count}": sets.together}
    if sets.classes:
        columns["mean of classes"] = {name: sets.mean(name) for name in names}
    columns |= {f"{label} ({sets.counts[label]})": scores for label, scores in sets.classes.items()}
    rows = [
        [
            f"{table.words(name)} ({sets.together[name].best} is best)",
            *(f"{scores[name].value:.3g} ({scores[name].floor:.3g})" for scores in columns.values()),
        ]
        for name in names
    ]
    note = "; ".join(f"{name}: {fact}" for name, fact in sets.protocol.items())
    return (
        f"<h2>Sets of samples</h2>{_table(['', *columns], rows)}"
        f"<p class=note>Against as many held-out real samples; in brackets the score of real training samples. "
        f"{html.escape(note)}</p>"
    )


def _previews(evaluator: Evaluator, source: Source) -> str:
    modality = evaluator.reference.modality
    generated = _figure(modality.preview(source.first(SHOWN)), "samples")
    real = _figure(modality.preview(evaluator.held_out.first(SHOWN)), "real, held out")
    return f"<h2>Samples</h2><div class=side-by-side>{generated}{real}</div>"


def _sweep(setting: str, sweep: Sweep) -> str:
    names = next(iter(sweep.values())).keys()
    plot = lines(list(sweep), {title(name): [scores[name] for scores in sweep.values()] for name in names}, setting)
    return f"<h2>Quality against {html.escape(setting)}</h2>{plot}"


def _memorisation(evaluation: Evaluation, evaluator: Evaluator, source: Source) -> str:
    memory = evaluation.memorisation
    blocks: dict[int, list[Any]] = {}
    figures = []
    for sample, real in memory.closest(CLOSEST):
        number = sample // BLOCK
        blocks[number] = blocks.get(number) or source.block(number)
        index = evaluator.training.indices[real]
        pair = [blocks[number][sample % BLOCK], evaluator.reference.artifact(index)]
        caption = f"sample {sample}, training sample {index}: {memory.distances[sample]:.3g} apart"
        figures.append(_figure(evaluator.reference.modality.preview(pair), caption))
    plot = histogram(
        {"samples": memory.distances, "real, held out": memory.held_out}, "distance to the nearest training sample"
    )
    note = (
        f"A sample is nearer to the training data than a held-out real one with probability {memory.nearer:.1%} "
        f"(50 % if alike); {memory.suspicious:.1%} of the samples are nearer than all but 1 % of the held-out ones."
    )
    pairs = (
        f"<h3>Closest pairs</h3><p class=note>The sample is on the left.</p><div class=pairs>{''.join(figures)}</div>"
    )
    return f"<h2>Memorisation</h2><p>{note}</p>{plot}{pairs}"


def _classification(report: ClassificationReport) -> str:
    names = list(report.class_names)
    rows = [[name, *map(str, row)] for name, row in zip(names, report.table, strict=True)]
    note = (
        f"{report.accuracy:.1%} of the samples are classified as requested; of the real held-out ones, "
        f"{report.floor:.1%}. Rows: requested class; columns: predicted class."
    )
    shades = [[0.0, *(count / max(1, sum(row)) for count in row)] for row in report.table]
    return f"<h2>Classes</h2><p>{note}</p>{_table(['', *names], rows, shades)}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], shades: Sequence[Sequence[float]] = ()) -> str:
    """A table; ``shades``, from 0 to 1, colour the cells of its rows."""

    def cell(text: str, shade: float) -> str:
        colour = f" style='background: rgb(31 119 180 / {shade / 2:.2f})'" if shade else ""
        return f"<td{colour}>{html.escape(text)}</td>"

    head = "".join(f"<th>{html.escape(text)}</th>" for text in header)
    body = "".join(
        f"<tr>{''.join(map(cell, row, shade))}</tr>"
        for row, shade in zip(rows, shades or [[0.0] * len(header)] * len(rows), strict=True)
    )
    return f"<div class=wide tabindex=0><table><tr>{head}</tr>{body}</table></div>"


def _figure(picture: Image.Image, caption: str) -> str:
    data = io.BytesIO()
    picture.save(data, format="PNG")
    source, text = f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}", html.escape(caption)
    return f'<figure><img src="{source}" alt="{text}"><figcaption>{text}</figcaption></figure>'
