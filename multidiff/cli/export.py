"""multidiff export: samples as files for other programs, with a report of each."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from multidiff.cli import options

if TYPE_CHECKING:
    from multidiff.modality import Exporter, Modality


class Sample(NamedTuple):
    """A sample to export: its name, a function that loads it, and its metadata."""

    name: str
    artifact: Callable[[], Any]
    metadata: Mapping[str, Any]


def export(
    source: Annotated[Path, typer.Argument(help="A folder of samples, a model, or the name of a bundled one.")],
    format: Annotated[str, typer.Option(help="File suffix; for meshes glb, obj, ply, stl or 3mf.")],
    out: options.Out,
    n: options.Count = None,
    label: options.Label = None,
    prompt: options.Prompt = None,
    seed: options.Seed = 0,
    batch_size: options.BatchSize = None,
    set: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="KEY=VALUE, an export setting; for shapes: resolution, faces, size, units, up, points."
        ),
    ] = None,
    turntable: options.Turntable = False,
) -> None:
    """Export samples to other file formats.

    Shapes become watertight meshes.
    """
    sampling = options.sampling_settings(label, prompt, {}, seed=seed, batch_size=batch_size)
    run(source, out, format, options.assignments(set), n=n, sampling=sampling, turntable=turntable)


def run(
    source: Path,
    out: Path,
    format: str,
    settings: Mapping[str, Any],
    *,
    n: int | None = None,
    sampling: dict[str, Any] | None = None,
    turntable: bool = False,
) -> None:
    """Export the samples in the folder ``source``, or ``n`` of the model ``source``, into the folder ``out``.

    Raises:
        InputError: the request cannot be met; or, after all others are written, some samples could not be.
    """
    import json

    from multidiff.data.files import new_file
    from multidiff.data.scan import first_few
    from multidiff.errors import InputError
    from multidiff.sampling import samples as folder

    modality, samples = _recorded(source) or _generated(source, n, sampling or {})
    suffix = "." + format.lower().removeprefix(".")
    exporter = modality.exporter(suffix, settings)
    if turntable:
        folder.check_turns(modality)
    with folder.claimed(out):
        artifacts, reports, failures = _written(samples, exporter, out, suffix)
        if not reports:
            raise InputError(f"none of {len(failures)} samples could be exported: {first_few(failures)}")
        with new_file(out / "report.json") as path:
            failed = [{"sample": name, "error": reason} for name, reason in failures.items()]
            path.write_text(json.dumps([*reports, *failed], indent=2) + "\n", "utf-8")
        if turntable:
            folder.write_turntable(modality, artifacts, out)
    _print(reports)
    if failures:
        total = len(reports) + len(failures)
        raise InputError(f"{len(failures)} of {total} samples were not exported: {first_few(failures)}")


def _written(
    samples: Iterable[Sample], exporter: "Exporter[Any]", out: Path, suffix: str
) -> tuple[list[Any], list[dict[str, Any]], dict[str, str]]:
    """The artifacts that were written, a report of each, and why the others were not."""
    from multidiff.errors import DiskFullError, InputError

    artifacts, reports, failures = [], [], {}
    for sample in samples:
        try:
            artifact = sample.artifact()
            reports.append(exporter(artifact, out / f"{sample.name}{suffix}", sample.metadata))
            artifacts.append(artifact)
        except DiskFullError:
            raise
        except InputError as error:
            failures[sample.name] = str(error)
    return artifacts, reports, failures


def _generated(source: Path, n: int | None, sampling: dict[str, Any]) -> "tuple[Modality[Any], Iterator[Sample]]":
    """The modality of a model, and ``n`` samples of it."""
    from multidiff.sampling import model_directory, samples

    pipeline = model_directory.load(source)
    plan = pipeline.plan(options.count(n, pipeline, sampling), **sampling)
    record = {**plan.record(), "model": str(source)}
    found = (
        Sample(samples.file_name(index, ""), lambda artifact=artifact: artifact, samples.metadata(record, index))  # type: ignore[misc]
        for index, artifact in enumerate(plan.stream())
    )
    return plan.pipeline.modality, found


def _recorded(source: Path) -> "tuple[Modality[Any], Iterator[Sample]] | None":
    """The modality of a folder of samples, and the samples; None if it is no such folder."""
    from functools import partial

    from multidiff.sampling.samples import metadata, read_record

    record = read_record(source)
    if record is None:
        return None
    modality = record.modality
    found = (
        Sample(path.stem, partial(modality.read, path), metadata(record.plan, entry["index"]))
        for entry in record.files
        for path in [record.path(entry)]
    )
    return modality, found


def _print(reports: Sequence[Mapping[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*reports[0], box=None)
    for report in reports:
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else _plain(value) for value in report.values()))
    Console(markup=False).print(table)


def _plain(value: Any) -> str:
    return (", ".join(value) or "-") if isinstance(value, list) else str(value)
