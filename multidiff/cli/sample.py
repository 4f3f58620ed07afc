"""multidiff sample: generated files, a preview, and a record."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multidiff.cli import options

if TYPE_CHECKING:
    from multidiff.sampling.editing import Edit
    from multidiff.sampling.pipeline import Pipeline


def sample(
    model: options.Model,
    out: options.Out,
    n: options.Versions = None,
    label: options.Label = None,
    prompt: options.Prompt = None,
    prompts: options.Prompts = None,
    set: options.Set = None,
    sampler: options.SamplerName = None,
    steps: options.Steps = None,
    guidance: options.Scale = None,
    guidance_rule: options.Rule = None,
    guidance_field: options.GuidedField = None,
    negative: options.Negative = None,
    lora: options.Lora = None,
    init: Annotated[Path | None, typer.Option(help="File to edit; needs --strength, --mask or --extend.")] = None,
    strength: Annotated[
        float | None, typer.Option(help="How much of the file, or of its --mask, changes; in (0, 1].")
    ] = None,
    mask: Annotated[
        str | None,
        typer.Option(help="Region to regenerate: a mask image, START:END in seconds, or a fraction of points."),
    ] = None,
    extend: Annotated[float | None, typer.Option(help="Extend the file by this many seconds or pixels.")] = None,
    seed: options.Seed = 0,
    batch_size: options.BatchSize = None,
    precision: options.Precision = None,
    compile: options.Compile = None,
    format: Annotated[
        str | None, typer.Option(help="File suffix. Default: png for images, wav for sounds, ply for shapes.")
    ] = None,
    turntable: options.Turntable = False,
) -> None:
    """Generate samples with a trained model."""
    settings = options.sampling_settings(
        label,
        prompt,
        options.assignments(set),
        prompts=None if prompts is None else _lines(prompts),
        sampler=sampler,
        steps=steps,
        guidance=guidance,
        guidance_rule=guidance_rule,
        guidance_field=guidance_field,
        negative=negative,
        seed=seed,
        batch_size=batch_size,
        precision=precision,
        compile=compile,
    )
    edits = {"strength": strength, "mask": mask, "extend": extend}
    stack = options.weighted_files(lora)
    run(model, out, n, settings, init=init, edits=edits, format=format, turntable=turntable, lora=stack)


def run(
    model: str,
    out: Path,
    n: int | None,
    settings: dict[str, Any],
    *,
    init: Path | None = None,
    edits: dict[str, Any] | None = None,
    format: str | None = None,
    turntable: bool = False,
    lora: dict[str, float] | None = None,
) -> None:
    """Generate ``n`` samples of ``model``, or of each of its prompts, into the folder ``out``; None is the default.

    Processes that torchrun started share the batches, each of which is computed as one process alone would compute it.
    """
    from contextlib import nullcontext
    from itertools import chain

    from multidiff.cli.processes import device_of, launched
    from multidiff.data.progress import progress
    from multidiff.sampling import model_directory, samples

    with launched() as processes, processes.working():
        pipeline = model_directory.load(model, str(device_of(processes)), lora)
        if turntable:
            samples.check_turns(pipeline.modality)
        suffix = _suffix(format, pipeline)
        plan = pipeline.plan(options.count(n, pipeline, settings), edit=_edit(pipeline, init, edits or {}), **settings)
        record = {**plan.record(), "model": model}
        samples.require_empty(out)
        processes.wait()  # all have found the folder empty
        with nullcontext() if processes.rank else samples.claimed(out):
            processes.wait()  # the first has claimed it
            batches = processes.share(plan.batches)
            numbers = list(chain(*batches))
            shown = progress(plan.stream(batches), len(numbers), "Sampling {}", at_once=True, silent=processes.rank > 0)
            numbered = zip(numbers, shown, strict=True)
            written, failed = samples.write_samples(pipeline.modality, numbered, record, out, suffix)
            everything, failures = processes.gather(written), processes.gather(failed)
            if processes.rank:
                return
            if turntable and everything:
                artifacts = [everything[index].artifact for index in sorted(everything)]
                samples.write_turntable(pipeline.modality, artifacts, out)
            samples.finish(pipeline.modality, everything, failures, record, out, suffix)
        print(f"{len(plan)} samples in {out}; see {out / samples.PREVIEW}")


def _lines(path: Path) -> list[str]:
    """The lines of a text file that are not blank."""
    from multidiff.data.captions import read_text
    from multidiff.errors import InputError

    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{path} holds no prompt: write one on each line")
    return lines


def _suffix(given_format: str | None, pipeline: "Pipeline") -> str:
    from multidiff.errors import InputError

    offered = pipeline.modality.written
    suffix = offered[0] if given_format is None else "." + given_format.lower().removeprefix(".")
    if suffix not in offered:
        raise InputError(f"--format {given_format} is not written by this modality; it writes: {', '.join(offered)}")
    return suffix


def _edit(pipeline: "Pipeline", init: Path | None, edits: dict[str, Any]) -> "Edit | None":
    """What to do with the file ``init``; None to start from noise."""
    from multidiff.errors import InputError
    from multidiff.sampling.editing import edit_of

    given = {name: value for name, value in edits.items() if value is not None}
    if init is None and not given:
        return None
    strength = given.pop("strength") if given.keys() == {"mask", "strength"} else 1.0
    if init is None or len(given) != 1:
        raise InputError("an edit needs --init FILE and one of --strength, --mask (also with --strength), --extend")
    ((name, value),) = given.items()
    return edit_of(pipeline.modality, init, name, value, strength)
