"""multidiff export: samples, or a model's, as files for other programs, and a report of each."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from multidiff.cli.sample import check_turns, write_turntable
from multidiff.configuration import instantiate
from multidiff.data.files import atomic_path
from multidiff.data.folder import first_few
from multidiff.errors import InputError
from multidiff.modality import Exporter, Modality
from multidiff.sampling import model_directory
from multidiff.sampling.plan import batches_of
from multidiff.sampling.request import Names

RECORD = "samples.json"


class Sample(NamedTuple):
    """What is exported: its name, how to come by it, and its story."""

    name: str
    artifact: Callable[[], Any]
    metadata: Mapping[str, Any]


def run(
    source: Path,
    out: Path,
    format: str,
    *,
    n: int = 16,
    label: Names | None = None,
    prompt: str | None = None,
    seed: int = 0,
    batch_size: int = 64,
    turntable: bool = False,
    settings: Mapping[str, Any],
) -> None:
    """Export the samples in the folder ``source``, or ``n`` of the model ``source``, into the folder ``out``.

    Raises:
        InputError: the request cannot be met; or, when all the others are written, some samples could not be.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {out} is not an empty folder; choose another, or remove it")
    if (source / RECORD).is_file():
        modality, samples = _recorded(source)
    else:
        modality, samples = _drawn(source, n, label, prompt, seed, batch_size)
    suffix = "." + format.lower().removeprefix(".")
    export = modality.exporter(suffix, settings)
    if turntable:
        check_turns(modality)
    shown, reports, failures = _written(samples, export, out, suffix)
    if not reports:
        raise InputError(f"none of {len(failures)} samples could be exported: {first_few(failures)}")
    with atomic_path(out / "report.json") as path:
        failed = [{"sample": name, "error": reason} for name, reason in failures.items()]
        path.write_text(json.dumps([*reports, *failed], indent=2) + "\n")
    if turntable:
        write_turntable(modality, shown, out)
    _print(reports)
    if failures:
        total = len(reports) + len(failures)
        raise InputError(f"{len(failures)} of {total} samples were not exported: {first_few(failures)}")


def _written(
    samples: Iterable[Sample], export: Exporter[Any], out: Path, suffix: str
) -> tuple[list[Any], list[dict[str, Any]], dict[str, str]]:
    """The artifacts that were written, a report of each, and why the others were not."""
    artifacts, reports, failures = [], [], {}
    for sample in samples:
        try:
            artifact = sample.artifact()
            reports.append(export(artifact, out / f"{sample.name}{suffix}", sample.metadata))
            artifacts.append(artifact)
        except InputError as error:
            failures[sample.name] = str(error)
    return artifacts, reports, failures


def _drawn(
    source: Path, n: int, label: Names | None, prompt: str | None, seed: int, batch_size: int
) -> tuple[Modality[Any], Iterator[Sample]]:
    """The modality of a model, and ``n`` samples of it."""
    pipeline = model_directory.load(str(source))
    conditions = pipeline.conditions(n, label=label or None, prompt=prompt)
    stream = pipeline.stream(conditions, pipeline.sampling, seed=seed, batches=batches_of(n, batch_size))
    about = {"model": str(source), "sampler": dict(pipeline.sampling.sampler), "seed": seed}
    samples = (
        Sample(f"{i:05d}", partial(_unchanged, artifact), {**about, "index": i, "condition": condition})
        for i, (artifact, condition) in enumerate(zip(stream, conditions, strict=True))
    )
    return pipeline.modality, samples


def _unchanged(artifact: Any) -> Any:
    return artifact


def _recorded(folder: Path) -> tuple[Modality[Any], Iterator[Sample]]:
    """The modality of a folder of samples, and the samples."""
    try:
        record = json.loads((folder / RECORD).read_text())
        files, config = record.pop("files"), record.pop("modality")
    except (ValueError, KeyError) as error:
        raise InputError(f"{folder / RECORD} is not what `multidiff sample` writes: {error}") from error
    modality: Modality[Any] = instantiate(config)
    paths = [folder / file["file"] for file in files]
    samples = (
        Sample(path.stem, partial(modality.read, path), {**record, **file})
        for path, file in zip(paths, files, strict=True)
    )
    return modality, samples


def _print(reports: list[dict[str, Any]]) -> None:
    table = Table(*reports[0], box=None)
    for report in reports:
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else _plain(value) for value in report.values()))
    Console().print(table)


def _plain(value: Any) -> str:
    return (", ".join(value) or "-") if isinstance(value, list) else str(value)
