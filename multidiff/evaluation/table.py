"""The table of scores that the command prints and the report shows."""

from multidiff.evaluation.evaluation import Evaluation
from multidiff.evaluation.scores import LOWER_IS_BETTER, Score

NAMES = {
    "frechet_distance": "Fréchet distance",
    "frechet_distance_infinite": "Fréchet distance, infinite samples",
    "vendi_score": "Vendi score",
}
"""Names of scores for people where they differ from the keys."""

ERROR = "_error"
"""Suffix of the name of a standard error."""


def title(name: str) -> str:
    """The name of a score for people, with an arrow that points to better values."""
    return f"{words(name)} {'↓' if name in LOWER_IS_BETTER else '↑'}"


def words(name: str) -> str:
    """The name of a score for people."""
    return NAMES.get(name, name.replace("_", " "))


def header(evaluation: Evaluation) -> list[str]:
    """The headings of `rows`."""
    count = next(iter(evaluation.scores.values())).count
    return ["score", "all samples", f"first {count}", f"{count} real, held out"]


def rows(evaluation: Evaluation) -> list[list[str]]:
    """Each score of all samples, of as many as are held out, and of the real ones held out; with standard errors."""
    scores = evaluation.scores
    table = [
        [title(name), *(_with_error(scores, name, field) for field in ("value", "at_floor_count", "floor"))]
        for name in scores
        if not name.endswith(ERROR)
    ]
    report = evaluation.classification
    if report is not None:
        table.append(["classified as requested ↑", f"{report.accuracy:.1%}", "", f"{report.floor:.1%}"])
    return table


def _with_error(scores: dict[str, Score], name: str, field: str) -> str:
    error = scores.get(name + ERROR)
    return f"{getattr(scores[name], field):.4g}" + (f" ± {getattr(error, field):.1g}" if error else "")
