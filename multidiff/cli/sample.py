"""multidiff sample: files, a preview, and a record of how each file came to be."""

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any, Unpack

from rich.progress import Progress

from multidiff.cli.processes import device_of, launched
from multidiff.data.files import atomic_path, sha256
from multidiff.data.folder import first_few
from multidiff.diffusion.editing import Draw
from multidiff.errors import InputError
from multidiff.modality import Modality
from multidiff.sampling import model_directory
from multidiff.sampling.pipeline import Pipeline
from multidiff.sampling.plan import Sampling, batches_of
from multidiff.sampling.processes import Processes
from multidiff.sampling.request import Changes, Names

PREVIEWED = 100
"""More samples than these make no better preview."""

TURNED = 16
"""More samples than these take long to turn."""

FRAME_MS = 60


class Request(Changes, total=False):
    """What the command line asks for; its help explains each."""

    label: Names | None
    prompt: str | None
    seed: int
    batch_size: int
    format: str | None
    init: Path | None
    strength: float | None
    mask: str | None
    extend: float | None
    size: int | None
    turntable: bool


def run(model: str, out: Path, n: int, **request: Unpack[Request]) -> None:
    """Draw ``n`` samples of ``model`` into the folder ``out``, from noise or from the file ``init``.

    Processes that torchrun started share the batches, each of which is drawn as one process alone would draw it.
    """
    with launched() as processes, processes.working():
        _run(processes, model, out, n, **request)


def _run(
    processes: Processes,
    model: str,
    out: Path,
    n: int,
    *,
    label: Names | None = None,
    prompt: str | None = None,
    seed: int = 0,
    batch_size: int = 64,
    format: str | None = None,
    init: Path | None = None,
    strength: float | None = None,
    mask: str | None = None,
    extend: float | None = None,
    size: int | None = None,
    turntable: bool = False,
    **changes: Unpack[Changes],
) -> None:
    pipeline = model_directory.load(model, str(device_of(processes)))
    if size is not None:
        pipeline = pipeline.resized(size)
    if turntable:
        check_turns(pipeline.modality)
    draw = _draw(pipeline, init, strength, mask, extend)
    suffix = _suffix(format, pipeline.modality.written)
    conditions = pipeline.conditions(n, label=label or None, prompt=prompt)
    sampling = pipeline.sampling.requested(conditions, **changes)
    request = {
        **_origin(model, sampling, seed),
        **_edit_record(init, strength=strength, mask=mask, extend=extend),
    }
    pipeline.prepared(sampling)
    modality = model_directory.read_config(model_directory.find_model(Path(model)))["modality"]
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {out} is not an empty folder; choose another, or remove it")
    batches = processes.share(batches_of(n, batch_size))
    processes.wait()  # all have found the folder empty
    with Progress(transient=True, disable=processes.rank > 0) as progress:
        stream = pipeline.stream(conditions, sampling, seed=seed, batches=batches, draw=draw)
        shown = progress.track(stream, total=sum(map(len, batches)), description="sampling")
        numbered = zip(chain(*batches), shown, strict=True)
        drawn, failed = _write(pipeline.modality, numbered, out, suffix, conditions, request)
    everything, failures = processes.gather(drawn), processes.gather(failed)
    if processes.rank:
        return
    reasons = {_name(i, suffix): failures[i] for i in sorted(failures)}
    if not everything:
        out.rmdir()
        raise InputError(f"none of {n} samples could be written: {first_few(reasons)}")
    files, artifacts = zip(*(everything[i] for i in sorted(everything)), strict=True)
    preview = pipeline.modality.preview(list(artifacts[:PREVIEWED]))
    write_record(out, preview, {**request, "modality": modality, "files": files})
    if turntable:
        write_turntable(pipeline.modality, list(artifacts), out)
    if reasons:
        raise InputError(f"{len(reasons)} of {n} samples were not written: {first_few(reasons)}")
    print(f"{n} samples in {out}; look at {out / 'preview.png'}")


def _write(
    modality: Modality[Any],
    numbered: Iterable[tuple[int, Any]],
    out: Path,
    suffix: str,
    conditions: Sequence[str | None],
    request: Mapping[str, Any],
) -> tuple[dict[int, tuple[dict[str, Any], Any]], dict[int, str]]:
    """Write artifacts; by number, the record of each, with the artifact if it is previewed, or why there is none."""
    drawn: dict[int, tuple[dict[str, Any], Any]] = {}
    failed: dict[int, str] = {}
    for i, artifact in numbered:
        out.mkdir(parents=True, exist_ok=True)
        path = out / _name(i, suffix)
        own = {"index": i, "condition": conditions[i]}
        try:
            modality.write(artifact, path, {**request, **own})
        except InputError as error:  # a shape without a surface, say: the others are worth keeping
            failed[i] = str(error)
            continue
        drawn[i] = {"file": path.name, **own, "sha256": sha256(path)}, artifact if i < PREVIEWED else None
    return drawn, failed


def _name(number: int, suffix: str) -> str:
    return f"{number:05d}{suffix}"


def write_record(out: Path, preview: Any, record: dict[str, Any]) -> None:
    """Write ``preview.png`` and ``samples.json``."""
    with atomic_path(out / "preview.png") as path:
        preview.save(path)
    with atomic_path(out / "samples.json") as path:
        path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def check_turns(modality: Modality[Any]) -> None:
    """Refuse a turntable of what has no other side."""
    if not modality.turns:
        raise InputError(f"--turntable is for what has another side, not for the modality {modality.name}")


def write_turntable(modality: Modality[Any], artifacts: Sequence[Any], out: Path) -> None:
    """Write ``turntable.webp``, one turn around the first of ``artifacts``."""
    frames = modality.turntable(artifacts[:TURNED])
    with atomic_path(out / "turntable.webp") as path:
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=FRAME_MS, loop=0)


def _draw(
    pipeline: Pipeline, init: Path | None, strength: float | None, mask: str | None, extend: float | None
) -> Draw | None:
    """What ``init`` is for: to be varied, to be made anew in part, or to go on from; None to start from noise."""
    given = [name for name, value in (("strength", strength), ("mask", mask), ("extend", extend)) if value is not None]
    if init is None and not given:
        return None
    if init is None or len(given) != 1:
        raise InputError("--init FILE comes with one of --strength, --mask and --extend, which say what to do with it")
    artifact = pipeline.modality.read(init)
    if strength is not None:
        return pipeline.canvas.varied(artifact, strength)
    if mask is not None:
        return pipeline.canvas.repainted(artifact, *pipeline.modality.region(mask))
    assert extend is not None
    return pipeline.canvas.continued(artifact, extend)


def _origin(model: str, sampling: Sampling, seed: int) -> dict[str, Any]:
    """What samples come from, beside conditions and an edit."""
    return {
        "multidiff": version("multidiff-toolkit"),
        "model_sha256": sha256(model_directory.find_model(Path(model)) / model_directory.WEIGHTS),
        "sampler": dict(sampling.sampler),
        "guidance": sampling.guidance,
        "guidance_rule": dict(sampling.rule),
        "negative": sampling.negative,
        "seed": seed,
    }


def _edit_record(init: Path | None, **options: Any) -> dict[str, Any]:
    if init is None:
        return {}
    return {"init": {"file": init.name, "sha256": sha256(init)}, **{k: v for k, v in options.items() if v is not None}}


def _suffix(asked: str | None, offered: Sequence[str]) -> str:
    suffix = offered[0] if asked is None else "." + asked.lower().removeprefix(".")
    if suffix not in offered:
        raise InputError(f"--format {asked} is not written by this modality; it writes: {', '.join(offered)}")
    return suffix
