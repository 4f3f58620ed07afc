"""multidiff reproduce: generate a file again, or train a run again, and compare."""

from pathlib import Path
from typing import Annotated

import typer


def reproduce(
    target: Annotated[Path, typer.Argument(help="A generated file, a folder of samples, or a run directory.")],
    model: Annotated[Path | None, typer.Option(help="The model; by default it is found by its hash.")] = None,
    init: Annotated[Path | None, typer.Option(help="The file that the edit started from, if it was moved.")] = None,
    mask: Annotated[Path | None, typer.Option(help="The mask of the edit, if it was moved.")] = None,
    lora: Annotated[list[Path] | None, typer.Option(help="A LoRA that was used, if it was moved. Repeatable.")] = None,
    out: Annotated[Path | None, typer.Option(help="New folder for the new result. Default: it is deleted.")] = None,
) -> None:
    """Regenerate samples, or retrain a run, and compare with the original.

    The exit status is 0 if both are equal, and 1 if they differ.
    """
    from multidiff.errors import InputError
    from multidiff.sampling.reproduce import reproduce_samples

    is_run = (target / "config.yaml").is_file() and (target / "checkpoints").is_dir()
    if is_run and (model or init or mask or lora):
        raise InputError("a run is trained again from its own config: leave --model, --init, --mask and --lora out")
    if is_run:
        from multidiff.training.reproduce import reproduce_run

        comparison = reproduce_run(target, out)
    else:
        comparison = reproduce_samples(target, model, init, mask, out, lora or ())
    print(comparison)
    if not comparison.equal:
        raise typer.Exit(1)
