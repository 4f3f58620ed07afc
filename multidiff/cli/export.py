"""multidiff export: samples, or a model's, as files for other programs, and a report of each."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from multidiff import model_directory
from multidiff.cli.sample import PREVIEWED
from multidiff.configuration import instantiate
from multidiff.errors import InputError
from multidiff.files import atomic_path
from multidiff.modality import Modality
from multidiff.request import Names
from multidiff.sampling import batches_of

RECORD = "samples.json"
FRAME_MS = 60


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
    """Export the samples in the folder ``source``, or ``n`` of the model ``source``, into the folder ``out``."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {out} is not an empty folder; choose another, or remove it")
    suffix = "." + format.lower().removeprefix(".")
    if (source / RECORD).is_file():
        modality, artifacts = _recorded(source)
    else:
        pipeline = model_directory.load(str(source))
        modality = pipeline.modality
        conditions = pipeline.conditions(n, label=label or None, prompt=prompt)
        drawn = pipeline.stream(conditions, pipeline.sampling, seed=seed, batches=batches_of(n, batch_size))
        about = {"model": str(source), "sampler": dict(pipeline.sampling.sampler), "seed": seed}
        artifacts = (
            (f"{i:05d}", artifact, {**about, "index": i, "condition": condition})
            for i, (artifact, condition) in enumerate(zip(drawn, conditions, strict=True))
        )
    reports, shown = [], []
    for name, artifact, metadata in artifacts:
        out.mkdir(parents=True, exist_ok=True)
        try:
            reports.append(modality.export(artifact, out / f"{name}{suffix}", metadata, settings))
        except InputError as error:
            if not any(out.iterdir()):
                out.rmdir()
            raise InputError(f"{name}: {error}") from error
        shown.append(artifact)
    with atomic_path(out / "report.json") as path:
        path.write_text(json.dumps(reports, indent=2) + "\n")
    if turntable:
        _write_turntable(modality, shown[:PREVIEWED], out / "turntable.webp")
    _print(reports)


def _recorded(folder: Path) -> tuple[Modality[Any], Iterator[tuple[str, Any, dict[str, Any]]]]:
    """The modality of a folder of samples, and each sample's name, artifact and story."""
    try:
        record = json.loads((folder / RECORD).read_text())
        files, config = record.pop("files"), record.pop("modality")
    except (ValueError, KeyError) as error:
        raise InputError(f"{folder / RECORD} is not what `multidiff sample` writes: {error}") from error
    modality: Modality[Any] = instantiate(config)

    def read() -> Iterator[tuple[str, Any, dict[str, Any]]]:
        for file in files:
            path = folder / file["file"]
            yield path.stem, modality.read(path), {**record, **file}

    return modality, read()


def _write_turntable(modality: Modality[Any], artifacts: list[Any], path: Path) -> None:
    frames = modality.turntable(artifacts)
    if not frames:
        raise InputError(f"--turntable is for what has another side, not for the modality {modality.name}")
    with atomic_path(path) as part:
        frames[0].save(part, save_all=True, append_images=frames[1:], duration=FRAME_MS, loop=0)


def _print(reports: list[dict[str, Any]]) -> None:
    table = Table(*reports[0], box=None)
    for report in reports:
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else _plain(value) for value in report.values()))
    Console().print(table)


def _plain(value: Any) -> str:
    return (", ".join(value) or "-") if isinstance(value, list) else str(value)
