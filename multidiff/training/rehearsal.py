"""A training that is not done: what it would find, and what it would cost."""

import logging
import resource
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from omegaconf import DictConfig

from multidiff.training.announce import announced
from multidiff.training.budget import check_pace, seconds_of
from multidiff.training.progress import Pace, Progress, duration
from multidiff.training.run_directory import held
from multidiff.training.train import built, fit

TRIED = 11
"""Steps of a trial, of which the first, which is slower, is not timed."""

_WHERE = {True: " on the GPU", False: ", with all that the process has loaded"}


def rehearsed(config: DictConfig | dict[str, Any]) -> Iterator[str]:
    """What `announced` tells of a training, and its memory and time; nothing is trained.

    The memory is told before it is needed, then measured by a trial of a few steps, as is the time.

    Raises:
        InputError: something in the config or in the data cannot be used, or its budget is too short.
    """
    run = built(config)
    settings = run.settings
    with held(run.run_dir):
        yield from announced(run)
    if expected := run.memory(settings["loader"]["batch_size"]):
        yield f"memory   {expected}"
    device = {"devices": 1, "num_nodes": 1, "strategy": "auto"}
    with tempfile.TemporaryDirectory() as folder:
        short = {**settings["trainer"], **device, "max_steps": TRIED, "val_check_interval": TRIED + 1}
        alone: dict[str, Any] = {"resume": False, "budget": None, "callbacks": {}, "logger": {}, "check": None}
        with _told_already():
            trial = built({**settings, **alone, "run_dir": folder, "trainer": short})
        pace = Pace(TRIED)
        quiet = [each for each in trial.trainer.callbacks if not isinstance(each, Progress)]  # type: ignore[attr-defined]
        trial.trainer.callbacks = [*quiet, pace]  # type: ignore[attr-defined]
        fit(trial, quiet=True)
    yield f"memory   {_memory() / 1e9:.2g} GB measured in {TRIED} steps{_WHERE[torch.cuda.is_available()]}"
    yield f"time     {_length(pace.seconds, settings)}"


@contextmanager
def _told_already() -> Iterator[None]:
    """Log no warnings, which are those of the same settings and data as before."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _length(pace: float, settings: dict[str, Any]) -> str:
    steps, budget = settings["trainer"]["max_steps"], settings["budget"]
    if budget is not None:
        check_pace(seconds_of(budget), pace)
        steps = round(seconds_of(budget) / pace)
    return f"{duration(pace)} a step, {duration(steps * pace)} for {steps:,} steps, without validations and previews"


def _memory() -> int:
    """Bytes of the device, or of this process, that were in use at most."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
