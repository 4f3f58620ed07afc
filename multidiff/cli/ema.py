"""multidiff ema: a model with an average of the weights whose width is chosen after training."""

from pathlib import Path
from typing import Annotated

import typer


def ema(
    run: Annotated[Path, typer.Argument(help="A run directory that was trained with callbacks=snapshots.")],
    width: Annotated[float, typer.Option(help="Width of the average relative to the length of training, below 0.288.")],
    out: Annotated[Path, typer.Option(help="A new directory for the model.")],
) -> None:
    """Choose the width of a trained model's moving average."""
    from multidiff.errors import InputError
    from multidiff.sampling.model_directory import find_model, load, read_config, save
    from multidiff.sampling.samples import require_empty
    from multidiff.training.post_hoc import reconstructed, snapshots
    from multidiff.weights import fill

    require_empty(out)
    directory = find_model(run.expanduser())
    kept = snapshots(run.expanduser())
    pipeline, config = load(directory, "cpu"), read_config(directory)
    if "tuning" in config:
        raise InputError(f"{run} trained a pretrained pipeline, whose average has the width that it was trained with")
    fill(pipeline.model, reconstructed(kept, width), kept[-1].path)
    save(pipeline, config, out, {**config["training"], "steps": kept[-1].updates, "ema_width": width})
    print(f"a model with an average of width {width:g} in {out}, from {len(kept)} snapshots")
