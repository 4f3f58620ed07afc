"""What is in a data set, and what in it may spoil a training, in lines for a person."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from multidiff.data.dataset import Dataset
from multidiff.data.duplicates import duplicates, equal_files
from multidiff.data.folder import Prepared
from multidiff.data.labels import Labels
from multidiff.errors import first_of

FEW = 200
"""Below so many samples, a model memorises them."""

SHOWN = 3


def described(dataset: Dataset) -> list[str]:
    """The number and shape of the samples, and what their fields hold."""
    shape = "x".join(map(str, dataset.shape))
    others = "" if dataset.shapes is None else f" and {len(np.unique(dataset.shapes, axis=0)) - 1} shapes near it"
    lines = [f"{len(dataset):,} samples of {shape}{others} from {type(dataset).__name__}"]
    return lines + [f"{name}: {_column(column)}" for name, column in dataset.fields.items()]


def problems(
    dataset: Dataset, from_scratch: bool = True, for_few: str | None = None, starts: bool = False
) -> Iterator[str]:
    """What may spoil a training: few samples, classes of one sample, equal captions, duplicates among files and others.

    Args:
        dataset: the training data.
        from_scratch: whether the model knows nothing else; otherwise a few samples of one caption are enough.
        for_few: what helps a training of few samples, beside more of them; or None.
        starts: whether the model starts from a trained one of the same kind.
    """
    labels, captions = dataset.labels or (), dataset.values.get("caption", ())
    yield from few(len(dataset), "sample", for_few, starts) if from_scratch else ()
    yield from single(labels, "sample")
    yield from equal_captions(captions) if from_scratch else ()
    if isinstance(dataset, Prepared):
        yield from _repeated(dataset)
        yield from dataset.preparation.problems(dataset.store.shapes)


def few(count: int, unit: str, for_few: str | None, starts: bool = False) -> Iterator[str]:
    """``count`` samples, or files, are too few to learn from.

    Args:
        count: of them.
        unit: the word for one of them.
        for_few: what helps beside more of them; or None.
        starts: whether the model starts from a trained one, which is what helps most.
    """
    if count < FEW:
        advice = f"take at least {FEW}" + (f", or {for_few}" if for_few else "")
        advice = "watch the previews and stop early" if starts else advice
        yield f"{_count(count, unit, f'{unit}s')}, which a model will memorise: {advice}"


def single(labels: Iterable[str], unit: str) -> Iterator[str]:
    """Classes with one sample, or file, each; ``unit`` is the word for it."""
    if found := [name for name, count in Counter(labels).items() if count == 1]:
        yield f"{_count(len(found), 'class', 'classes')} with only one {unit}: {first_of(found, SHOWN)}"


def equal_captions(captions: Iterable[str | None]) -> Iterator[str]:
    """All captions that there are, at least two, are the same."""
    counts = Counter(caption for caption in captions if caption)
    if len(counts) == 1 < counts.total():
        yield f"all captions are {next(iter(counts))!r}: prompts will have no effect"


def copied(root: Path, paths: Sequence[Path]) -> Iterator[str]:
    """Files below ``root`` that equal others to the byte."""
    if pairs := equal_files(paths):
        names = [f"{first.relative_to(root)} and {second.relative_to(root)}" for first, second in pairs]
        yield f"{_count(len(pairs), 'file', 'files')} equal to another one, for example {first_of(names, SHOWN)}"


def _repeated(dataset: Prepared) -> Iterator[str]:
    found = duplicates(dataset)
    if not found.pairs:
        return
    names = dict.fromkeys(f"{dataset.name(first)} and {dataset.name(second)}" for first, second in found.pairs)
    count = _count(len(found.pairs), "sample", "samples")
    some = f" (exact copies sought in all, near copies in {found.compared:,})" if not found.complete else ""
    yield f"{count} nearly equal to another one{some}, for example {first_of(list(names), SHOWN)}"


def _column(column: Sequence[Any]) -> str:
    if isinstance(column, Labels):
        return f"{_count(len(column.names), 'class', 'classes')}, {first_of(column.names, SHOWN)}"
    known = [value for value in column if value not in (None, "")]
    missing = f", {len(column) - len(known):,} without" if len(known) < len(column) else ""
    if known and isinstance(known[0], int | float):
        return f"{min(known):g} to {max(known):g}{missing}"
    distinct = list(dict.fromkeys(known))
    first = [repr(value[0] if isinstance(value, tuple) else value) for value in distinct]
    return f"{len(distinct):,} different{missing}, such as {first_of(first, SHOWN)}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
