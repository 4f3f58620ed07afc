"""Training steps and sampler overhead of two checkouts of MultiDiff, in turns on the same machine.

    python benchmarks/versions.py OLD_CHECKOUT NEW_CHECKOUT

Each turn is a process of its own. The figures are medians over the turns.
"""

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from multidiff.configuration import compose, load_option
from multidiff.diffusion.denoiser import Denoiser
from multidiff.diffusion.grids import KarrasRho
from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.samplers import sample
from multidiff.diffusion.schedules import Cosine
from multidiff.training.module import DiffusionModule
from multidiff.training.train import train

SAMPLERS = ("dpmpp_2m", "unipc_3", "ddpm")
STEPS, REPEATS, TRAINED = 20, 30, 120


def sampler_steps() -> dict[str, float]:
    """Milliseconds of a sampler step without its network, by sampler."""
    x0 = torch.zeros(1, 3, 32, 32)

    class Constant(Denoiser):
        schedule = Cosine()

        def forward(self, x_t: Any, t: Any, cond: Any = None) -> Any:
            return x0

    found = {}
    for name in SAMPLERS:
        settings = dict(load_option("sampler", name)["method"])
        module, _, kind = settings.pop("_target_").rpartition(".")
        method = getattr(importlib.import_module(module), kind)(schedule=Constant.schedule, **settings)
        grid = KarrasRho()(Constant.schedule, STEPS)
        seconds = []
        for _ in range(REPEATS):
            begun = time.perf_counter()
            sample(Constant(), NoiseSource([0], (3, 32, 32)), method, grid)
            seconds.append(time.perf_counter() - begun)
        found[f"{name}, ms a step"] = 1000 * statistics.median(seconds) / STEPS
    return found


def training_steps() -> dict[str, float]:
    """Milliseconds of a training step of the digits experiment."""
    begun: list[float] = []
    DiffusionModule.on_train_batch_start = lambda *batch: begun.append(time.perf_counter())  # type: ignore[assignment]
    quiet = ("callbacks.previews.every=0", "trainer.val_check_interval=100000", "trainer.accelerator=cpu")
    with tempfile.TemporaryDirectory() as folder:
        train(compose(["experiment=image/digits", *quiet, f"trainer.max_steps={TRAINED}", f"run_dir={folder}/run"]))
    durations = [after - before for before, after in pairwise(begun)]
    return {"digits, ms a training step": 1000 * statistics.median(durations[10:])}


def turn(checkout: Path) -> dict[str, float]:
    """The figures of ``checkout``, measured in a new process."""
    environment = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
    command = [sys.executable, str(Path(__file__).resolve()), "--measure"]
    done = subprocess.run(command, env=environment, cwd=checkout, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", nargs="*", type=Path)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--measure", action="store_true", help="measure the checkout on the Python path")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps({**sampler_steps(), **training_steps()}))
        return
    found: dict[Path, list[dict[str, float]]] = {checkout: [] for checkout in options.checkouts}
    for _ in range(options.turns):
        for checkout, turns in found.items():
            turns.append(turn(checkout))
    for checkout, turns in found.items():
        print(checkout, {name: round(statistics.median(each[name] for each in turns), 3) for name in turns[0]})


if __name__ == "__main__":
    main()
