"""Train a run again, and compare the weights."""

import tempfile
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from multidiff.errors import InputError
from multidiff.sampling.model_directory import WEIGHTS, find_model, read_config
from multidiff.sampling.reproduce import Comparison
from multidiff.training.run_directory import read_settings
from multidiff.training.train import train


def reproduce_run(run_dir: Path, out: Path | None) -> Comparison:
    """Train the run in ``run_dir`` again, for as many steps as its model has, and compare the averaged weights.

    Args:
        run_dir: of the run.
        out: run directory for the new training; None to remove it.

    Raises:
        InputError: the run cannot be read, or its data are not there any more.
    """
    directory = find_model(run_dir)
    settings = read_settings(run_dir)
    try:
        steps = int(read_config(directory)["training"]["steps"])
        trainer = {**settings["trainer"], "max_steps": steps}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{run_dir} is not a run that can be trained again: {error!r}") from error
    with tempfile.TemporaryDirectory() as temporary:
        again = Path(temporary) / "run" if out is None else out
        train({**settings, "run_dir": str(again), "resume": False, "budget": None, "trainer": trainer, "logger": {}})
        was, now = load_file(directory / WEIGHTS), load_file(find_model(again) / WEIGHTS)
    names = sorted(was.keys() | now.keys())
    differences = [line for name in names if (line := _difference(name, was.get(name), now.get(name)))]
    return Comparison(str(run_dir), differences, len(names))


def _difference(name: str, was: Tensor | None, now: Tensor | None) -> str | None:
    """A line that says how two weights differ; None if they are equal."""
    if was is None or now is None:
        return f"{name}: only in the {'second' if was is None else 'first'} model: the data have changed"
    if was.shape != now.shape:
        return f"{name}: shape {tuple(was.shape)}, then {tuple(now.shape)}: the data have changed"
    return None if was.equal(now) else f"{name}: differs by {float((was - now).abs().max()):.3g} at most"
