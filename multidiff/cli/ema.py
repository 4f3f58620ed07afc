"""multidiff ema: a model with an average of the weights whose width is chosen after training."""

from pathlib import Path
from typing import Annotated

import typer


def ema(
    run: Annotated[Path, typer.Argument(help="A run directory that was trained with callbacks=snapshots.")],
    width: Annotated[float, typer.Option(help="Width of the average relative to the length of training, below 0.288.")],
    out: Annotated[Path, typer.Option(help="A new directory for the model.")],
) -> None:
    """Write a model with another width of the moving average (EMA) of its weights."""
    from multidiff.sampling.model_directory import find_model, load, read_config, save
    from multidiff.sampling.samples import require_empty
    from multidiff.training.post_hoc import reconstructed, snapshots
    from multidiff.training.run_directory import read_settings
    from multidiff.training.tuned_average import save_tuned_average
    from multidiff.weights import fill

    require_empty(out)
    run = run.expanduser()
    kept, settings = snapshots(run), read_settings(run)
    if settings.get("tuning"):
        save_tuned_average(run, settings, width, out)
    else:
        directory = find_model(run)
        pipeline, config = load(directory, "cpu"), read_config(directory)
        fill(pipeline.model, reconstructed(kept, width), kept[-1].path)
        save(pipeline, config, out, {**config["training"], "steps": kept[-1].updates, "ema_width": width})
    print(f"a model with an average of width {width:g} in {out}, from {len(kept)} snapshots")
