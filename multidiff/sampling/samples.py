"""A folder of generated files: written once, with a record from which each can be generated again.

::

    DIR/    00000.png ...  preview.png  samples.json (plan, hashes of the model and of each file)
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multidiff.configuration import instantiate, read_json
from multidiff.data.files import member, new_file, sha256
from multidiff.data.scan import first_few
from multidiff.errors import DiskFullError, InputError
from multidiff.modality import Modality
from multidiff.sampling.plan import fields_in

RECORD = "samples.json"
PREVIEW = "preview.png"
CLAIM = ".writing"
PREVIEWED = 100
"""Samples that a preview shows at most."""

TURNED = 16
"""Samples that a turntable shows at most: more take long to render."""

FRAME_MS = 60


@dataclass(frozen=True)
class Written:
    """A sample on disk.

    Attributes:
        entry: of the record: file, index, fields, sha256.
        artifact: kept for the preview, or None.
    """

    entry: dict[str, Any]
    artifact: Any


def require_empty(out: Path) -> None:
    """Refuse to write into a folder that holds something.

    Raises:
        InputError: it does.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {out} is not an empty folder; choose another, or remove it")


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """The new or empty folder ``out``, for this command alone; removed afterwards if nothing was written.

    Raises:
        InputError: it holds something, or another command is writing to it.
        DiskFullError: the disk is full; says what was written before.
    """
    require_empty(out)
    out.mkdir(parents=True, exist_ok=True)
    claim = out / CLAIM
    try:
        claim.touch(exist_ok=False)
    except FileExistsError as error:
        raise InputError(f"another command is writing to --out {out}; choose another folder") from error
    try:
        yield
    except DiskFullError as error:
        count = sum(path != claim for path in out.iterdir())
        left = f"; {count} files were written, without a record" if count else ""
        raise DiskFullError(f"{error}{left}; free some space, remove {out} and start again") from error
    finally:
        claim.unlink(missing_ok=True)
        if not any(out.iterdir()):
            out.rmdir()


def file_name(index: int, suffix: str) -> str:
    """Of sample ``index``."""
    return f"{index:05d}{suffix}"


def metadata(plan: Mapping[str, Any], index: int) -> dict[str, Any]:
    """What goes into the file of sample ``index``; ``plan`` is the record of a plan with the modality beside it."""
    return {**plan, "index": index}


def write_samples(
    modality: Modality[Any], numbered: Iterable[tuple[int, Any]], plan: Mapping[str, Any], out: Path, suffix: str
) -> tuple[dict[int, Written], dict[int, str]]:
    """Write artifacts.

    Args:
        modality: modality of the artifacts.
        numbered: artifacts with their index.
        plan: see `metadata`.
        out: the folder, which is made.
        suffix: of the files.

    Returns:
        By index, what was written, and why the others could not be.
    """
    written: dict[int, Written] = {}
    failed: dict[int, str] = {}
    out.mkdir(parents=True, exist_ok=True)
    for index, artifact in numbered:
        path = out / file_name(index, suffix)
        try:
            modality.write(artifact, path, metadata(plan, index))
        except DiskFullError:
            raise
        except InputError as error:  # a shape without a surface, say: the others are worth keeping
            failed[index] = str(error)
            continue
        entry = {"file": path.name, "index": index, "fields": dict(fields_in(plan, index)), "sha256": sha256(path)}
        written[index] = Written(entry, artifact if index < PREVIEWED else None)
    return written, failed


def write_record(modality: Modality[Any], written: Mapping[int, Written], plan: Mapping[str, Any], out: Path) -> None:
    """Write the preview and the record."""
    ordered = [written[index] for index in sorted(written)]
    with new_file(out / PREVIEW) as path:
        modality.preview([each.artifact for each in ordered if each.artifact is not None]).save(path)
    with new_file(out / RECORD) as path:
        record = {**plan, "files": [each.entry for each in ordered]}
        path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", "utf-8")


def write_turntable(modality: Modality[Any], artifacts: Sequence[Any], out: Path) -> None:
    """Write ``turntable.webp``, one turn around the first of ``artifacts``."""
    frames = modality.turntable(artifacts[:TURNED])
    with new_file(out / "turntable.webp") as path:
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=FRAME_MS, loop=0)


def check_turns(modality: Modality[Any]) -> None:
    """Refuse a turntable of samples that cannot be rotated."""
    if not modality.turns:
        raise InputError(
            f"--turntable needs samples that can be rotated, which those of the modality {modality.name} cannot"
        )


@dataclass(frozen=True)
class Record:
    """The record of a folder of samples.

    Attributes:
        folder: of the samples.
        plan: the record of their plan, with the config of the modality.
        files: an entry for each sample.
    """

    folder: Path
    plan: Mapping[str, Any]
    files: Sequence[Mapping[str, Any]]

    @property
    def modality(self) -> Modality[Any]:
        """Of the samples."""
        return instantiate(Modality, self.plan["modality"])

    def path(self, entry: Mapping[str, Any]) -> Path:
        """Of the sample that an entry describes."""
        return self.folder / entry["file"]


def read_record(folder: Path) -> Record | None:
    """The record of a folder of samples; None where there is none.

    Raises:
        InputError: there is one, and it is damaged or names no samples.
    """
    path = folder / RECORD
    if not path.is_file():
        return None
    plan = read_json(path)
    try:
        files = plan.pop("files")
        for entry in files:
            if not isinstance(entry["fields"], dict) or type(entry["index"]) is not int or entry["index"] < 0:
                raise TypeError
            member(folder, entry["file"])
        if not isinstance(plan["modality"], dict):
            raise TypeError
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not a record that `multidiff sample` wrote; remove it or repair it") from error
    if not files:
        raise InputError(f"{path} lists no samples; remove it or repair it")
    return Record(folder, plan, files)


def finish(
    modality: Modality[Any],
    written: Mapping[int, Written],
    failed: Mapping[int, str],
    plan: Mapping[str, Any],
    out: Path,
    suffix: str,
) -> None:
    """Write the record of what was written, and report what was not.

    Raises:
        InputError: a sample could not be written.
    """
    n = len(written) + len(failed)
    reasons = first_few({file_name(index, suffix): failed[index] for index in sorted(failed)})
    if not written:
        raise InputError(f"none of {n} samples could be written: {reasons}")
    write_record(modality, written, plan, out)
    if failed:
        raise InputError(f"{len(failed)} of {n} samples were not written: {reasons}")
