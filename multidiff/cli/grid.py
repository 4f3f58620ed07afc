"""multidiff grid: the config of a sampler whose noise levels are fitted to a model."""

from pathlib import Path
from typing import Annotated, Any

import typer

from multidiff.cli import options


def grid(
    model: options.Model,
    steps: Annotated[int, typer.Option(help="Number of steps of the grid.")] = 10,
    out: Annotated[Path | None, typer.Option(help="Sampler file (YAML) to write. Default: printed.")] = None,
    label: options.Label = None,
    prompt: options.Prompt = None,
    set: options.Set = None,
    sampler: options.SamplerName = None,
    guidance: options.Scale = None,
    guidance_rule: options.Rule = None,
    guidance_field: options.GuidedField = None,
    negative: options.Negative = None,
    n: options.Count = None,
    seed: options.Seed = 0,
    batch_size: options.BatchSize = None,
) -> None:
    """Fit a grid, the noise levels that a sampler visits, to a model for few steps."""
    settings = options.sampling_settings(
        label,
        prompt,
        options.assignments(set),
        sampler=sampler,
        guidance=guidance,
        guidance_rule=guidance_rule,
        guidance_field=guidance_field,
        negative=negative,
        seed=seed,
        batch_size=batch_size,
    )
    run(model, steps, n, settings, out)


def run(model: str, steps: int, n: int | None, settings: dict[str, Any], out: Path | None = None) -> None:
    """Print the sampler of a request on a grid of ``steps`` steps that is fitted to the model, or write it."""
    from multidiff.cli.sampler_file import check_path, command_line, write_sampler
    from multidiff.diffusion.optimized_grid import check_steps
    from multidiff.errors import refusals
    from multidiff.sampling import model_directory
    from multidiff.sampling.fine_runs import fine_runs

    check_path(out)
    with refusals():
        check_steps(steps)
    pipeline = model_directory.load(model)
    plan = pipeline.plan(options.count(n, pipeline, settings), **settings)
    fitted = fine_runs(plan).grid(steps).log_snr
    config = {
        "name": f"{plan.sampler['name']}_{steps}" if out is None else out.stem,
        "steps": steps,
        "method": plan.sampler["method"],
        "grid": {"_target_": "multidiff.diffusion.grids.Interpolated", "log_snr": list(fitted)},
    }
    scale = None if plan.guidance.scale == 1 else plan.guidance.scale
    command = command_line("multidiff", "grid", model, "-n", len(plan), steps=steps, **{**settings, "guidance": scale})
    write_sampler(config, command, out)
    if out is not None:
        print(f"a grid of {steps} steps in {out}")
