"""The command `multidiff`: what each command takes, and one line for every mistake."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from hydra.errors import HydraException, MissingConfigException
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from multidiff.configuration import group_options
from multidiff.errors import InputError

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""

app = typer.Typer(
    name="multidiff",
    help="Train diffusion models of images, audio and 3D, and draw samples from them.",
    epilog="Start with: multidiff quickstart",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.command()
def quickstart(
    out: Annotated[Path, typer.Option(help="Folder for the models and the samples.")] = Path("quickstart"),
) -> None:
    """Train a small model of each modality and write samples: minutes on a laptop, nothing is downloaded."""
    from multidiff.cli.quickstart import run  # noqa: PLC0415  the other commands do not pay for this import

    run(out)


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    short_help="Train a model: multidiff train experiment=image/digits run_dir=RUN [KEY=VALUE ...]",
)
def train(context: typer.Context) -> None:
    """Train a model. Every setting is a KEY=VALUE; --cfg job shows them all, --help explains the rest."""
    from multidiff.cli.train import run  # noqa: PLC0415

    run(context.args)


@app.command()
def sample(
    model: Annotated[str, typer.Argument(help="A run directory or a model directory.")],
    out: Annotated[Path, typer.Option(help="Folder for the samples, preview.png and samples.json.")],
    n: Annotated[int, typer.Option("-n", help="How many samples.")] = 16,
    label: Annotated[list[str] | None, typer.Option(help="A class to draw; give it again for more in turn.")] = None,
    prompt: Annotated[str | None, typer.Option(help="A text, for a model that was trained with captions.")] = None,
    sampler: Annotated[str | None, typer.Option(help="Name or YAML file; by default the model's own.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the sampler.")] = None,
    guidance: Annotated[float | None, typer.Option(help="How closely to follow the condition; 1 is off.")] = None,
    guidance_rule: Annotated[str | None, typer.Option(help="cfg, cfg_rescaled, cfg_interval or apg.")] = None,
    negative: Annotated[str | None, typer.Option(help="A class or a text that guidance leads away from.")] = None,
    init: Annotated[Path | None, typer.Option(help="A file to start from, with one of the next three.")] = None,
    strength: Annotated[float | None, typer.Option(help="Vary it: above 0 (keep all), at most 1.")] = None,
    mask: Annotated[
        str | None, typer.Option(help="Redo a part: a picture of it, START:END seconds, a fraction.")
    ] = None,
    extend: Annotated[float | None, typer.Option(help="Go on where it ends, by so many seconds or pixels.")] = None,
    size: Annotated[int | None, typer.Option("--points", help="Of a shape, whatever it was trained at.")] = None,
    seed: Annotated[int, typer.Option(help="Sample i of a seed is the same, however many are drawn.")] = 0,
    batch_size: Annotated[int, typer.Option(help="How many are drawn at once; changes speed and memory only.")] = 64,
    format: Annotated[str | None, typer.Option(help="File suffix; by default the modality's first.")] = None,
    turntable: Annotated[bool, typer.Option("--turntable", help="Also an animated turntable.webp.")] = False,
) -> None:
    """Draw samples from a trained model."""
    from multidiff.cli.sample import run  # noqa: PLC0415

    run(
        model,
        out,
        n,
        label=label,
        prompt=prompt,
        sampler=sampler,
        steps=steps,
        guidance=guidance,
        guidance_rule=guidance_rule,
        negative=negative,
        init=init,
        strength=strength,
        mask=mask,
        extend=extend,
        size=size,
        seed=seed,
        batch_size=batch_size,
        format=format,
        turntable=turntable,
    )


@app.command()
def evaluate(
    data: Annotated[str, typer.Option(help="Real data: a folder, or a data config, as 'idx root=MNIST'.")],
    model: Annotated[str | None, typer.Argument(help="A run directory or a model directory.")] = None,
    generated: Annotated[Path | None, typer.Option(help="Instead of a model: a folder of samples.")] = None,
    modality: Annotated[
        str | None, typer.Option(help="Of --generated; by default as its samples.json says, or image.")
    ] = None,
    features: Annotated[
        str | None, typer.Option(help="encoder, inception, dinov2, clip, as 'inception weights=FILE'.")
    ] = None,
    samples: Annotated[int, typer.Option(help="How many samples are scored.")] = 2000,
    sampler: Annotated[str | None, typer.Option(help="Numerical method; by default the model's own.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the sampler.")] = None,
    guidance: Annotated[float | None, typer.Option(help="How closely to follow the condition; 1 is off.")] = None,
    guidance_rule: Annotated[str | None, typer.Option(help="cfg, cfg_rescaled, cfg_interval or apg.")] = None,
    seed: Annotated[int, typer.Option(help="Of the samples.")] = 0,
    batch_size: Annotated[int, typer.Option(help="Samples in memory at once; changes no digit.")] = 64,
    holdout: Annotated[
        float | None, typer.Option(help="Fraction of the data held out of training; of a model, its own.")
    ] = None,
    split_seed: Annotated[int | None, typer.Option(help="That chose what was held out; of a model, its own.")] = None,
    sweep: Annotated[bool, typer.Option("--sweep", help="Also score other steps and guidance scales.")] = False,
    processes: Annotated[int, typer.Option(help="That share the work; changes no digit. torchrun does it too.")] = 1,
    json: Annotated[Path | None, typer.Option(help="File for scores and protocol.")] = None,
    report: Annotated[Path | None, typer.Option(help="File for a page with pictures and plots.")] = None,
) -> None:
    """Score a model, or samples in a folder, against real data."""
    from multidiff.cli.evaluate import Request, run  # noqa: PLC0415

    run(
        Request(
            model=model,
            generated=generated,
            data=data,
            modality=modality,
            features=features,
            samples=samples,
            changes={"sampler": sampler, "steps": steps, "guidance": guidance, "guidance_rule": guidance_rule},
            seed=seed,
            batch_size=batch_size,
            holdout=holdout,
            split_seed=split_seed,
            sweep=sweep,
            processes=processes,
            json=json,
            report=report,
        )
    )


@app.command()
def export(
    source: Annotated[Path, typer.Argument(help="A folder of samples, or a model.")],
    format: Annotated[str, typer.Option(help="File suffix; for meshes glb, obj, ply, stl or 3mf.")],
    out: Annotated[Path, typer.Option(help="Folder for the files and report.json.")],
    n: Annotated[int, typer.Option("-n", help="How many samples, of a model.")] = 16,
    label: Annotated[list[str] | None, typer.Option(help="A class to draw; give it again for more in turn.")] = None,
    prompt: Annotated[str | None, typer.Option(help="A text, for a model that was trained with captions.")] = None,
    seed: Annotated[int, typer.Option(help="Of the samples of a model.")] = 0,
    batch_size: Annotated[int, typer.Option(help="How many are drawn at once.")] = 64,
    resolution: Annotated[int | None, typer.Option(help="Voxels a side of a surface.")] = None,
    faces: Annotated[int | None, typer.Option(help="At most so many faces a mesh.")] = None,
    size: Annotated[float | None, typer.Option(help="Metres along the longest side.")] = None,
    units: Annotated[str | None, typer.Option(help="Of the numbers in the file: m, cm, mm or in.")] = None,
    up: Annotated[str | None, typer.Option(help="The axis that points up: y or z.")] = None,
    points: Annotated[bool, typer.Option("--points", help="Points rather than meshes.")] = False,
    turntable: Annotated[bool, typer.Option("--turntable", help="Also an animated turntable.webp.")] = False,
) -> None:
    """Write samples for other programs: shapes as watertight meshes."""
    from multidiff.cli.export import run  # noqa: PLC0415

    asked = {"resolution": resolution, "faces": faces, "size": size, "units": units, "up": up, "points": points or None}
    settings = {name: value for name, value in asked.items() if value is not None}
    run(
        source,
        out,
        format,
        n=n,
        label=label,
        prompt=prompt,
        seed=seed,
        batch_size=batch_size,
        turntable=turntable,
        settings=settings,
    )


@app.command()
def doctor() -> None:
    """Show what this machine has, and what training will use of it."""
    from multidiff.cli.doctor import run  # noqa: PLC0415

    run()


@app.command()
def samplers() -> None:
    """List the samplers, with their order, their cost and when to use each."""
    from multidiff.cli.samplers import run  # noqa: PLC0415

    run()


@app.command()
def grid(
    model: Annotated[str, typer.Argument(help="A run directory or a model directory.")],
    steps: Annotated[int, typer.Option(help="Steps that the grid is made for.")] = 10,
    out: Annotated[Path | None, typer.Option(help="File for the result; by default it is printed.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="A class to measure on; give it again for more.")] = None,
    prompt: Annotated[str | None, typer.Option(help="A text to measure on.")] = None,
    guidance: Annotated[float | None, typer.Option(help="How closely to follow the condition; 1 is off.")] = None,
    guidance_rule: Annotated[str | None, typer.Option(help="cfg, cfg_rescaled, cfg_interval or apg.")] = None,
    negative: Annotated[str | None, typer.Option(help="A class or a text that guidance leads away from.")] = None,
    n: Annotated[int, typer.Option("-n", help="How many samples to measure on.")] = 16,
    seed: Annotated[int, typer.Option(help="Of those samples.")] = 0,
) -> None:
    """Compute the times at which a model is best sampled in a few steps, as a sampler config."""
    from multidiff.cli.grid import run  # noqa: PLC0415

    run(
        model,
        steps,
        out=out,
        label=label,
        prompt=prompt,
        n=n,
        seed=seed,
        guidance=guidance,
        guidance_rule=guidance_rule,
        negative=negative,
    )


def main() -> NoReturn:
    """Run the command line. Exit status: 0 done, 2 wrong usage or bad input, 130 interrupted."""
    try:
        status = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except (InputError, HydraException, OmegaConfBaseException, OSError, typer.TyperException) as error:
        print(f"multidiff: {_one_line(error)}", file=sys.stderr)
        sys.exit(2)
    except MemoryError as error:
        print(f"multidiff: not enough memory: {_one_line(error)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        status = INTERRUPTED
    if status == INTERRUPTED:  # which newer versions of typer return rather than raise
        print("multidiff: interrupted", file=sys.stderr)
    sys.exit(status or 0)


def _one_line(error: Exception) -> str:
    if isinstance(error, typer.TyperException):
        return f"{error.format_message().rstrip('.')}; see multidiff --help"
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} must be given: {error.full_key}=VALUE"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.partition("/")
        options: Sequence[str] = group_options(group)
        if not options:  # a group of Hydra's own
            (group, _, name), options = error.missing_cfg_file.rpartition("/"), error.options or ()
        return f"no {group} is called {name!r}; there are: {', '.join(options)}"
    if isinstance(error, OSError):
        return f"{error.filename or 'a file'}: {error.strerror or error}"
    return " ".join(str(error).split())


if __name__ == "__main__":
    main()
