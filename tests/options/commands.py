"""The command, as the tests of its options run it."""

import os
import subprocess
import sys
from pathlib import Path

from tests.cli.command import multidiff

FEW = (
    "trainer.max_steps=2",
    "trainer.val_check_interval=1",
    "trainer.accelerator=cpu",
    "callbacks.previews.every=2",
    "callbacks.previews.count=2",
    "loader.batch_size=2",
    "loader.workers=0",
    "loader.holdout=0.5",
    "sampler.steps=2",
)
"""A training of two steps."""

LARGE = ("digits", "emoji")
"""Data of so many samples that validation on half of them takes most of the time of such a training."""


def few_steps(option):
    """The overrides for a training of two steps on the data ``option``."""
    return [*FEW, "loader.holdout=0.02"] if option in LARGE else list(FEW)


def run(folder, *arguments, **environment):
    """In this process, with one cache for all folders."""
    return multidiff(*arguments, cwd=folder, MULTIDIFF_CACHE=str(folder.parent / "cache"), **environment)


def succeed(folder, *arguments, **environment):
    done = run(folder, *arguments, **environment)
    assert done.returncode == 0, f"{' '.join(map(str, arguments))}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def train(folder, overrides, **environment):
    return succeed(folder, "train", *overrides, **environment)


def installed(folder, *arguments, **environment):
    """In a process of its own, by the installed command, which Lightning starts again for each further process."""
    command = [str(Path(sys.executable).parent / "multidiff"), *map(str, arguments)]
    env = {**os.environ, "MULTIDIFF_CACHE": str(folder.parent / "cache"), **environment}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
