"""What a path is: samples, a model, a run, a folder of data, or a file."""

import json
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from multidiff.bundled import located
from multidiff.cli.finding import Inspection, counted
from multidiff.cli.inspected_models import inspected_model, inspected_weights
from multidiff.data.files import sha256
from multidiff.data.scan import Entry, find_entries
from multidiff.data.survey import copied, equal_captions, few, single
from multidiff.errors import InputError, first_of
from multidiff.modality import Modality
from multidiff.pretrained.weights import PICKLES
from multidiff.sampling.for_few import for_few
from multidiff.sampling.model_directory import CONFIG, read_config
from multidiff.sampling.plan import fields_in
from multidiff.sampling.reproduce import modalities, read_original
from multidiff.sampling.samples import Record, read_record
from multidiff.training.run_directory import LOCK
from multidiff.weights import LOWEST

READ = 200
"""Files of a folder that are read, at equal distances; more would take long."""

SHOWN = 64
"""Samples in a picture."""

SCARCE = 0.1
"""A class is scarce if it has fewer files than this fraction of the largest one."""


def inspected(path: Path) -> Inspection:
    """Find out what ``path`` is.

    Raises:
        InputError: there is nothing, or nothing that MultiDiff reads.
    """
    path = located(path)
    if path.is_file():
        return _file(path)
    if not path.exists():
        raise InputError(f"there is nothing at {path}")
    record = read_record(path)
    if record is not None:
        return _samples(path, record)
    if (path / LOCK).exists() or (path / "checkpoints").is_dir():
        return _run(path)
    return inspected_model(path) or _data(path)


def _file(path: Path) -> Inspection:
    """A generated file, weights, or any other that a modality reads."""
    if path.suffix in (".safetensors", *PICKLES):
        return inspected_weights(path)
    installed = list(modalities())
    modality = next((each for each in installed if path.suffix.lower() in each.suffixes), None)
    if modality is None:
        known = dict.fromkeys(suffix for each in installed for suffix in each.suffixes)
        raise InputError(f"{path} has no supported suffix; supported: {' '.join(known)}")
    artifact = modality.read(path)
    facts = {"size": modality.describe(artifact), "bytes": f"{path.stat().st_size:,}"}
    try:
        original = read_original(path)
        facts |= _plan(original.record, original.index)
        kind = f"a generated {modality.name}"
    except InputError:
        kind = f"a file of the modality {modality.name}, without metadata of MultiDiff"
    return Inspection(kind, facts, lambda: modality.preview([artifact]))


def _plan(record: Mapping[str, Any], index: int) -> dict[str, str]:
    try:
        fields = ", ".join(f"{name}={value}" for name, value in fields_in(record, index).items())
        sampler, guidance = record["sampler"], record["guidance"]
        return {
            "sample": f"{index} of {record['n']}",
            "fields": fields or "none",
            "sampling": f"{sampler['name']}, {sampler['steps']} steps, guidance {guidance['scale']}",
            "seeds": json.dumps(record["seeds"]),
            "model": f"weights {str(record['model_sha256'])[:12]}",
            "made by": f"multidiff {record['multidiff']}",
        }
    except (KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise InputError(f"the plan lacks {error}") from error


def _samples(path: Path, record: Record) -> Inspection:
    """A folder that `multidiff sample` wrote."""
    missing = [entry["file"] for entry in record.files if not record.path(entry).is_file()]
    kept = [entry for entry in record.files if entry["file"] not in missing]
    changed = [entry["file"] for entry in kept if sha256(record.path(entry)) != entry.get("sha256")]
    problems = [
        f"{len(names)} files {what}: {first_of(names, 5)}"
        for what, names in (("are missing", missing), ("have changed since they were written", changed))
        if names
    ]
    labels = Counter(" ".join(map(str, entry["fields"].values())) or "no condition" for entry in record.files)
    facts = {"files": str(len(record.files)), "conditions": counted(labels)}
    facts |= {name: value for name, value in _plan(record.plan, 0).items() if name not in ("sample", "fields")}

    def picture() -> Image.Image:
        return record.modality.preview([record.modality.read(record.path(entry)) for entry in kept[:SHOWN]])

    return Inspection(f"generated samples ({record.modality.name})", facts, picture, problems)


def _run(path: Path) -> Inspection:
    """A run directory."""
    checkpoints = sorted((path / "checkpoints").glob("step_*.ckpt"))
    previews = sorted((path / "previews").glob("step_*.png"))
    problems = [] if checkpoints else ["there is no checkpoint yet"]
    facts = {"checkpoints": f"{len(checkpoints)}, the newest {checkpoints[-1].stem}" if checkpoints else "none"}
    facts["previews"] = str(len(previews))
    if checkpoints:
        facts["last written"] = time.strftime("%Y-%m-%d %H:%M", time.localtime(checkpoints[-1].stat().st_mtime))
    if (path / LOWEST).is_dir():
        facts["lowest loss"] = _lowest(path / LOWEST)
    model = path / "model"
    found = inspected_model(model)
    if found is None:
        problems.append("there is no model yet")

    def picture() -> Image.Image:
        if previews:
            return Image.open(previews[-1])
        if found is None:
            raise InputError(f"{path} has neither a preview nor a model yet")
        return found.picture()

    problems += found.problems if found else []
    kind = f"a run of {found.kind}" if found and found.kind != "a model" else "a run"
    return Inspection(kind, facts | dict(found.facts if found else {}), picture, problems)


def _lowest(path: Path) -> str:
    """The loss and the step of the model of the lowest validation loss, in the folder ``path``."""
    config = read_config(path)
    try:
        training = config["training"]
        return f"{training['val_loss']:.4g} at step {training['steps']}, in {path}"
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path / CONFIG} lacks the loss or the step of the training") from error


def _data(path: Path) -> Inspection:
    """A folder of data, of the modality that reads most of its files."""
    suffixes = Counter(file.suffix.lower() for file in path.rglob("*") if file.is_file())
    modality = max(modalities(), key=lambda each: sum(suffixes[suffix] for suffix in each.suffixes))
    entries = find_entries(path, modality.suffixes, modality.name)
    artifacts, sizes, unread = _read(modality, entries)
    count = f"{len(entries)} files, {sum(entry.path.stat().st_size for entry in entries):,} bytes"
    facts = {"files": count, "sizes": f"{counted(sizes)}" + _of(artifacts, entries)}
    labels = Counter(entry.label for entry in entries if entry.label is not None)
    captions = Counter(entry.facts.caption for entry in entries if entry.facts.caption)
    facts["labels"] = counted(labels) if labels else "none"
    facts["captions"] = f"{captions.total()}, {len(captions)} different" if captions else "none"
    if captions:
        facts["for example"] = first_of([repr(text) for text in captions], 3)
    problems = [f"{len(unread)} of the files read cannot be used: {first_of(unread, 3)}"] if unread else []
    problems += few(len(entries), "file", for_few(modality))
    problems += single(labels.elements(), "file")
    problems += _scarce(labels)
    problems += equal_captions(captions.elements())
    problems += copied(path, [entry.path for entry in entries])
    if captions and captions.total() < len(entries):
        problems.append(f"{len(entries) - captions.total()} files have no caption")
    return Inspection(f"data ({modality.name})", facts, lambda: modality.preview(artifacts[:SHOWN]), problems)


def _read(modality: Modality[Any], entries: Sequence[Entry]) -> tuple[list[Any], Counter[str], list[str]]:
    """Artifacts of some files, their sizes, and a line for each file that cannot be used."""
    artifacts, sizes, unread = [], Counter[str](), []
    for entry in entries[:: math.ceil(len(entries) / READ)]:
        try:
            artifact = modality.read(entry.path)
        except InputError as error:
            unread.append(str(error))
            continue
        sizes[modality.describe(artifact)] += 1
        artifacts.append(artifact)
    if not artifacts:
        raise InputError(f"none of the files in {entries[0].path.parent} that were tried can be used: {unread[0]}")
    return artifacts, sizes, unread


def _of(artifacts: Sequence[Any], entries: Sequence[Entry]) -> str:
    return f", in {len(artifacts)} files that were read" if len(artifacts) < len(entries) else ""


def _scarce(labels: Counter[str]) -> Iterator[str]:
    """Classes with several files, but so few that a model hardly learns them."""
    most = max(labels.values(), default=0)
    scarce = [f"{label} ({count})" for label, count in labels.items() if 1 < count < SCARCE * most]
    if scarce:
        yield f"classes with few files: {first_of(scarce, 10)}; the largest has {most}"
