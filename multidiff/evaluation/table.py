"""Scores in words: the table that the command prints and the report shows."""

from multidiff.evaluation.evaluation import Evaluation
from multidiff.evaluation.scores import LOWER_IS_BETTER, Score

NAMES = {
    "frechet_distance": "Fréchet distance",
    "frechet_distance_infinite": "Fréchet distance, infinite samples",
    "vendi_score": "Vendi score",
}
"""Of scores that are not called as their keys read."""

ERROR = "_error"
"""What the name of a standard error ends in."""


def title(name: str) -> str:
    """What the score ``name`` is called, with an arrow that points to where it is better."""
    return f"{words(name)} {'↓' if name in LOWER_IS_BETTER else '↑'}"


def words(name: str) -> str:
    """What the score ``name`` is called."""
    return NAMES.get(name, name.replace("_", " "))


def header(evaluation: Evaluation) -> list[str]:
    """What the columns of `rows` hold."""
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
    reading = evaluation.reading
    if reading is not None:
        table.append(["read as asked ↑", f"{reading.accuracy:.1%}", "", f"{reading.floor:.1%}"])
    return table


def _with_error(scores: dict[str, Score], name: str, field: str) -> str:
    error = scores.get(name + ERROR)
    return f"{getattr(scores[name], field):.4g}" + (f" ± {getattr(error, field):.1g}" if error else "")
