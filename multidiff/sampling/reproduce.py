"""Generate a file again from the plan inside it, and compare."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from multidiff.bundled import bundled
from multidiff.configuration import group_options, instantiate, left_out_if_broken, load_option
from multidiff.data.files import member, sha256
from multidiff.errors import InputError
from multidiff.modality import Modality
from multidiff.pretrained import Stack, find_stack, is_pipeline, pipeline_hash, stack_hash
from multidiff.sampling.editing import Edit, edit_of
from multidiff.sampling.guidance import Guidance
from multidiff.sampling.model_directory import WEIGHTS, load, weights_hash
from multidiff.sampling.pipeline import Pipeline
from multidiff.sampling.plan import FORMAT, Plan, fields_in
from multidiff.sampling.sampler_config import chosen_sampler
from multidiff.sampling.samples import RECORD, claimed, metadata, read_record
from multidiff.sampling.seeds import seeds_from

MOST = 10**6
"""Samples in a record, at most: a damaged number would fill the memory."""

FindFile = Callable[[str, Mapping[str, Any]], Path]
"""From the role of a file in an edit and its record to its path."""


@dataclass(frozen=True)
class Comparison:
    """Whether a result equals the original, and where it differs.

    Attributes:
        subject: what was compared: the start of the line.
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
    """A generated file with its metadata.

    Attributes:
        path: path of the file.
        index: index of the sample.
        record: record of the plan, with the config of the modality.
    """

    path: Path
    index: int
    record: Mapping[str, Any]


def reproduce_samples(
    target: Path,
    model: Path | None = None,
    init: Path | None = None,
    mask: Path | None = None,
    out: Path | None = None,
    lora: Sequence[Path] = (),
) -> Comparison:
    """Generate a file, or all files of a folder, again, and compare them byte for byte.

    Args:
        target: the file, or the folder.
        model: a model directory; None to search for it by its hash.
        init: the file that an edit started from; None to search for it by its name and hash, as for the model.
        mask: likewise, the mask of an edit.
        out: a new or empty folder to keep the files in; None to remove them.
        lora: files of the LoRAs that the plan names, if they are elsewhere.

    Raises:
        InputError: there is no plan in the file, or its model or another file that it needs cannot be found.
    """
    originals = _originals(target)
    record = originals[0].record
    if record.get("format") != FORMAT or "model_sha256" not in record:
        raise InputError(f"{target} holds no plan of format {FORMAT}, which this version reads")
    folder = target if target.is_dir() else target.parent
    stack = _stack_in(record)
    pipeline = load(_model_of(record, stack, model, folder), lora=find_stack(stack, lora, folder))
    given = {"init": init, "mask": mask}
    plan = plan_from(pipeline, record, lambda role, file: given[role] or _file_of(folder, file))
    modality: Modality[Any] = instantiate(Modality, record["modality"])
    wanted = {original.index: original for original in originals}
    batches = [rows for rows in plan.batches if any(row in wanted for row in rows)]
    differences = []
    with claimed(out) if out else nullcontext(), tempfile.TemporaryDirectory() as temporary:
        kept = out or Path(temporary)
        numbers = [row for rows in batches for row in rows]
        for row, artifact in zip(numbers, plan.stream(batches), strict=True):
            if row in wanted:
                differences += _difference(modality, artifact, wanted[row], kept)
    return Comparison(str(target), differences, len(originals))


def plan_from(pipeline: Pipeline, record: Mapping[str, Any], find: FindFile) -> Plan:
    """The plan that a record describes.

    Args:
        pipeline: its model.
        record: of `Plan.record`.
        find: from "init" or "mask" and the record of that file to its path.

    Raises:
        InputError: the record is not one of a plan, or a file of an edit is missing or has changed.
    """
    try:
        sizes, settings = record["sizes"], record["guidance"]
        resized = pipeline.resized(**sizes) if sizes else pipeline
        edit = None if record["edit"] is None else _edit(resized, record["edit"], find)
        guidance = Guidance(settings["scale"], settings["rule"], settings["field"], settings["negative"])
        if record["n"] > MOST:
            raise InputError(f"the record has more than {MOST} samples, the limit")
        samples = tuple(fields_in(record, index) for index in range(record["n"]))
        seeds = seeds_from(record["seeds"])
        sampler = chosen_sampler(record["sampler"], None, None)
        return Plan(resized, samples, sampler, guidance, seeds, edit, sizes, batch_size=record["batch_size"])
    except (KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise InputError(f"the record is not one of a plan: {error!r}") from error


def _edit(pipeline: Pipeline, record: Mapping[str, Any], find: FindFile) -> Edit:
    source = record["init"]
    if "file" not in source:
        raise InputError(
            "the samples were edited from an object in Python that was saved in no file: they cannot be reproduced"
        )
    init = _found("init", source, find)
    value = str(_found("mask", source["mask"], find)) if "mask" in source else source["value"]
    strength = record["strength"] if source["option"] == "mask" and "strength" in record else 1.0
    return edit_of(pipeline.modality, init, source["option"], value, strength)


def _found(role: str, file: Mapping[str, Any], find: FindFile) -> Path:
    """The path of a file that an edit needs, if it has the recorded contents."""
    path = find(role, file)
    if not path.is_file() or sha256(path) != file["sha256"]:
        raise InputError(f"the edit needs {file['file']} ({file['sha256'][:12]}): give it with --{role} PATH")
    return path


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
    return [read_original(target)]


def read_original(path: Path) -> Original:
    """A generated file with the plan inside it. The plan is not checked: anybody may have changed the file.

    Raises:
        InputError: there is no plan in the file.
    """
    written = next((found for modality in _readers(path.suffix) if (found := modality.metadata(path))), None)
    if written and {"format", "index", "modality", "model_sha256", "samples"} <= written.keys():
        return Original(path, written["index"], {key: value for key, value in written.items() if key != "index"})
    raise InputError(f"{path} holds no plan; `multidiff sample` writes one into files whose format stores metadata")


def modalities() -> Iterator[Modality[Any]]:
    """The installed modalities, without those of a broken plug-in."""
    for name in group_options("modality"):
        with left_out_if_broken("modality", name):
            yield instantiate(Modality, load_option("modality", name))


def _readers(suffix: str) -> Iterator[Modality[Any]]:
    """The installed modalities that read files with ``suffix``."""
    return (modality for modality in modalities() if suffix.lower() in modality.suffixes)


def _stack_in(record: Mapping[str, Any]) -> Stack:
    """The LoRAs that a record names, in their order."""
    stack = record.get("lora", [])
    kinds = {"file": str, "sha256": str, "weight": float}
    whole = isinstance(stack, list) and all(isinstance(lora, dict) and lora.keys() == kinds.keys() for lora in stack)
    if not whole or not all(isinstance(lora[key], kind) for lora in stack for key, kind in kinds.items()):
        raise InputError(f"the record is not one of a plan: its LoRAs are {stack!r}")
    return stack


def _model_of(record: Mapping[str, Any], stack: Stack, given: Path | None, folder: Path) -> Path:
    """The model directory whose weights have the recorded hash: given, at the recorded place, or near the files."""
    expected = str(record["model_sha256"])
    if given is not None:
        found = stack_hash(weights_hash(given), stack)
        if found != expected:
            raise InputError(f"the weights of {given} have the hash {found[:12]}, and the plan needs {expected[:12]}")
        return given
    recorded = Path(str(record.get("model", ".")))
    if is_pipeline(recorded) and stack_hash(pipeline_hash(recorded), stack) == expected:
        return recorded
    for place in (recorded, *bundled().values(), *_near(folder.resolve())):
        for directory in (place, place / "model"):
            weights = directory / WEIGHTS
            if os.access(weights, os.R_OK) and weights.is_file() and sha256(weights) == expected:
                return directory
    raise InputError(f"no model with the hash {expected[:12]} at {recorded} or near {folder}: give --model DIR")


def _file_of(folder: Path, file: Mapping[str, Any]) -> Path:
    """The file that an edit needs: the one of its name and hash near the files, or the place beside them."""
    beside = member(folder, file["file"])
    near = (place / file["file"] for place in _near(folder.resolve()) if os.access(place, os.R_OK | os.X_OK))
    readable = (path for path in near if path.is_file() and os.access(path, os.R_OK))
    return next((path for path in readable if sha256(path) == file["sha256"]), beside)


def _near(folder: Path) -> Iterator[Path]:
    """``folder``, its two parents, and what each of them holds."""
    for place in (folder, *list(folder.parents)[:2]):
        yield place
        if os.access(place, os.R_OK | os.X_OK):
            yield from sorted(place.iterdir())


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
        return [f"{path.name}: equal data, but other bytes (from another version of a library)"]
    return [f"{path.name}: {count} of {apart.numel()} values differ, by {float(apart.max()):.3g} at most, at {place}"]
