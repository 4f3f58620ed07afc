"""Generate a file again from the plan inside it, and compare."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from multidiff.configuration import group_options, instantiate_as, load_option
from multidiff.data.files import sha256
from multidiff.errors import InputError
from multidiff.modality import Modality
from multidiff.sampling.editing import Edit, edit_of
from multidiff.sampling.guidance import Guidance
from multidiff.sampling.model_directory import WEIGHTS, find_model, load
from multidiff.sampling.pipeline import Pipeline
from multidiff.sampling.plan import FORMAT, Plan, fields_in
from multidiff.sampling.samples import RECORD, metadata, read_record
from multidiff.sampling.seeds import seeds_from


@dataclass(frozen=True)
class Comparison:
    """Whether a result is equal to the one before, and where it differs.

    Attributes:
        subject: what was compared, for the first words of the line.
        differences: one for each part that differs.
        compared: number of parts.
    """

    subject: str
    differences: Sequence[str]
    compared: int

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def __str__(self) -> str:
        if self.equal:
            return f"{self.subject}: equal, byte for byte ({self.compared} compared)"
        lines = [f"{self.subject}: {len(self.differences)} of {self.compared} differ", *self.differences]
        return "\n  ".join(lines)


@dataclass(frozen=True)
class Original:
    """A generated file with the record of its making.

    Attributes:
        path: of the file.
        index: of the sample.
        record: of the plan, with the config of the modality.
    """

    path: Path
    index: int
    record: Mapping[str, Any]


def reproduce_samples(target: Path, model: Path | None, init: Path | None, out: Path | None) -> Comparison:
    """Generate a file, or all files of a folder, again, and compare them byte for byte.

    Args:
        target: the file, or the folder.
        model: a model directory; None to search for it by its hash.
        init: the file that an edit started from; None to search for it beside ``target``.
        out: folder to keep the files in; None to remove them.

    Raises:
        InputError: there is no plan in the file, or its model cannot be found.
    """
    originals = _originals(target)
    record = originals[0].record
    folder = target if target.is_dir() else target.parent
    pipeline = load(_model_of(record, model, folder))
    plan = plan_from(pipeline, record, lambda source: init or folder / source["file"])
    modality: Modality[Any] = instantiate_as(Modality, record["modality"])
    wanted = {original.index: original for original in originals}
    batches = [rows for rows in plan.batches if any(row in wanted for row in rows)]
    differences = []
    with tempfile.TemporaryDirectory() as temporary:
        kept = Path(temporary) if out is None else out
        kept.mkdir(parents=True, exist_ok=True)
        numbers = [row for rows in batches for row in rows]
        for row, artifact in zip(numbers, plan.stream(batches), strict=True):
            if row in wanted:
                differences += _difference(modality, artifact, wanted[row], kept)
    return Comparison(str(target), differences, len(originals))


def plan_from(pipeline: Pipeline, record: Mapping[str, Any], find_init: Any) -> Plan:
    """The plan that a record describes.

    Args:
        pipeline: its model.
        record: of `Plan.record`.
        find_init: from the source of an edit to the path of its file.

    Raises:
        InputError: the record is not one of a plan, or the file of an edit has changed.
    """
    if record.get("format") != FORMAT:
        raise InputError(f"the plan has format {record.get('format')!r}, and this version reads format {FORMAT}")
    try:
        sizes, settings = record["sizes"], record["guidance"]
        resized = pipeline.resized(**sizes) if sizes else pipeline
        edit = None if record["edit"] is None else _edit(resized, record["edit"], find_init)
        guidance = Guidance(settings["scale"], settings["rule"], settings["field"], settings["negative"])
        samples = tuple(fields_in(record, index) for index in range(record["n"]))
        seeds = seeds_from(record["seeds"])
        return Plan(resized, samples, record["sampler"], guidance, seeds, edit, sizes, record["batch_size"])
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"the record is not one of a plan: {error!r}") from error


def _edit(pipeline: Pipeline, record: Mapping[str, Any], find_init: Any) -> Edit:
    source = record["init"]
    if "file" not in source:
        raise InputError("the samples were edited from an artifact in Python, which no file holds")
    path = find_init(source)
    if not path.is_file() or sha256(path) != source["sha256"]:
        raise InputError(f"the edit started from {source['file']} ({source['sha256'][:12]}): give it with --init PATH")
    return edit_of(pipeline.modality, path, source["option"], source["value"])


def _originals(target: Path) -> list[Original]:
    if target.is_dir():
        record = read_record(target)
        if record is None:
            raise InputError(
                f"{target} holds no {RECORD}: give a folder that `multidiff sample` wrote, or one file of it"
            )
        return [Original(record.path(entry), entry["index"], record.plan) for entry in record.files]
    if not target.is_file():
        raise InputError(f"there is no file {target}")
    story = next((found for modality in _modalities(target.suffix) if (found := modality.metadata(target))), None)
    if story and {"format", "index", "modality", "samples"} <= story.keys():
        return [Original(target, story["index"], {key: value for key, value in story.items() if key != "index"})]
    raise InputError(
        f"{target} holds no plan; `multidiff sample` writes one into PNG, WAV, FLAC, OGG, GLB and PLY files"
    )


def _modalities(suffix: str) -> Iterator[Modality[Any]]:
    """The installed modalities that read files with ``suffix``."""
    for name in group_options("modality"):
        modality = instantiate_as(Modality, load_option("modality", name))
        if suffix.lower() in modality.suffixes:
            yield modality


def _model_of(record: Mapping[str, Any], given: Path | None, folder: Path) -> Path:
    """The model directory whose weights have the recorded hash: given, at the recorded place, or near the files."""
    expected = record["model_sha256"]
    if given is not None:
        found = sha256(find_model(given) / WEIGHTS)
        if found != expected:
            raise InputError(f"the weights of {given} have the hash {found[:12]}, and the plan needs {expected[:12]}")
        return given
    here = folder.resolve()
    near = [here, *list(here.parents)[:2]]
    places = [Path(record.get("model", here)), *near, *(child for place in near for child in sorted(place.iterdir()))]
    for place in places:
        for directory in (place, place / "model"):
            if (directory / WEIGHTS).is_file() and sha256(directory / WEIGHTS) == expected:
                return directory
    raise InputError(f"no model with the hash {expected[:12]} at {places[0]} or near {folder}: give --model DIR")


def _difference(modality: Modality[Any], artifact: Any, original: Original, folder: Path) -> list[str]:
    """One line that says where a file differs from ``artifact``, written in the same way; empty if it does not."""
    path = folder / original.path.name
    modality.write(artifact, path, metadata(original.record, original.index))
    if original.path.read_bytes() == path.read_bytes():
        return []
    was, now = (modality.to_data(modality.read(each)) for each in (original.path, path))
    if was.shape != now.shape:
        return [f"{path.name}: shape {tuple(was.shape)}, generated again {tuple(now.shape)}"]
    apart = (was - now).abs()
    place = [int(i) for i in torch.unravel_index(apart.argmax(), apart.shape)]
    count = int((apart > 0).sum())
    if not count:
        return [f"{path.name}: equal data, other bytes (another version of a library)"]
    return [f"{path.name}: {count} of {apart.numel()} values differ, by {float(apart.max()):.3g} at most, at {place}"]
