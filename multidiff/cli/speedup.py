"""multidiff speedup: the fastest way to sample a model, as a sampler file."""

from pathlib import Path
from typing import Annotated, Any

import typer

from multidiff.cli import options


def speedup(
    model: options.Model,
    out: Annotated[Path | None, typer.Option(help="Sampler file (YAML) to write. Default: printed.")] = None,
    loss: Annotated[
        float,
        typer.Option(help="Largest allowed difference from sampling with many steps, in standard deviations."),
    ] = 0.05,
    label: options.Label = None,
    prompt: options.Prompt = None,
    set: options.Set = None,
    guidance: options.Scale = None,
    guidance_rule: options.Rule = None,
    guidance_field: options.GuidedField = None,
    negative: options.Negative = None,
    n: options.Count = None,
    seed: options.Seed = 0,
    batch_size: options.BatchSize = None,
    compile: Annotated[bool, typer.Option("--compile", help="Also try compilation, which takes minutes.")] = False,
) -> None:
    """Find the fastest sampler, number of steps and speed settings for a model."""
    settings = options.sampling_settings(
        label,
        prompt,
        options.assignments(set),
        guidance=guidance,
        guidance_rule=guidance_rule,
        guidance_field=guidance_field,
        negative=negative,
        seed=seed,
        batch_size=batch_size,
    )
    run(model, out, loss, n, settings, compile)


def run(
    model: str, out: Path | None, loss: float, n: int | None, settings: dict[str, Any], compile: bool = False
) -> None:
    """Write the fastest sampler of ``model`` within ``loss`` of many steps to ``out``, or print it."""
    import sys
    from functools import partial

    from multidiff.cli.sampler_file import check_path, command_line, write_sampler
    from multidiff.sampling import model_directory
    from multidiff.sampling.speedup import described, fastest

    check_path(out)
    pipeline = model_directory.load(model)
    plan = pipeline.plan(options.count(n, pipeline, settings), **settings)
    found = fastest(plan, loss, compile, partial(print, file=sys.stderr, flush=True))
    name = f"{plan.sampler['name']}_fast" if out is None else out.stem
    command = command_line("multidiff", "speedup", model, "-n", len(plan), loss=loss, **settings)
    write_sampler(described(found, name), command, out)
    if out is not None:
        print(f"{found.sampler['steps']} steps, {found.seconds:.3f} s for {len(plan)} samples, in {out}")
