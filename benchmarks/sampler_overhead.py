"""Overhead of a sampler step, compared with ``step`` of diffusers and with one evaluation of a U-Net.

python benchmarks/sampler_overhead.py --json overhead.json
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import Tensor, nn

from multidiff.configuration import instantiate, load_option
from multidiff.diffusion.denoiser import Denoiser, NetworkDenoiser
from multidiff.diffusion.grids import KarrasRho
from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.predictions import Velocity
from multidiff.diffusion.samplers import Sampler, sample
from multidiff.diffusion.schedules import Cosine


def overhead(rounds: int = 15) -> dict[str, float]:
    """Milliseconds of one step without the network, and of one evaluation of a U-Net with 6.6M parameters, at batch 1.

    Medians over rounds in which all candidates take turns, so that other load on the machine affects all equally.
    """
    x0, steps = torch.zeros(1, 3, 32, 32), 20

    class Constant(Denoiser):
        schedule = Cosine()

        def forward(self, x_t: Tensor, t: Tensor, cond: Any = None) -> Tensor:
            return x0

    noise = NoiseSource([0], (3, 32, 32))
    grid = KarrasRho()(Constant.schedule, steps)
    turns: dict[str, Callable[[], Any]] = {}
    for name in ("dpmpp_2m", "dpmpp_3m", "unipc_3", "dpmpp_2m_sde", "ddpm"):
        method = instantiate(Sampler, load_option("sampler", name)["method"], schedule=Constant.schedule)
        turns[f"ours {name}"] = partial(sample, Constant(), noise, method, grid)
    schedulers = {"DPMSolverMultistep": {}, "UniPCMultistep": {"solver_order": 3}, "DDPM": {}}
    for name, settings in schedulers.items():
        kind = getattr(diffusers, f"{name}Scheduler")
        turns[f"diffusers {name}"] = partial(_steps_of, kind(**settings), x0, steps)
    settings = load_option("backbone", "unet")
    network = NetworkDenoiser(instantiate(nn.Module, settings, channels=3), Cosine(), Velocity()).eval()
    half = torch.tensor(0.5)
    turns["unet evaluation"] = lambda: [network(x0, half) for _ in range(steps)]
    durations: dict[str, list[float]] = {name: [] for name in turns}
    with torch.no_grad():
        for _ in range(rounds + 2):
            for name, turn in turns.items():
                began = time.perf_counter()
                turn()
                durations[name].append(1000 * (time.perf_counter() - began) / steps)
    return {name: statistics.median(values[2:]) for name, values in durations.items()}


def _steps_of(scheduler: Any, x: Tensor, steps: int) -> None:
    scheduler.set_timesteps(steps)
    for timestep in scheduler.timesteps:
        scheduler.scale_model_input(x, timestep)
        x = scheduler.step(x, timestep, x).prev_sample


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    times = overhead(options.rounds)
    print("milliseconds per step without the network, batch size 1, 3x32x32:")
    for name, milliseconds in times.items():
        print(f"{name:34}{milliseconds:8.3f}  {100 * milliseconds / times['unet evaluation']:.1f} % of an evaluation")
    machine = {"machine": platform.processor() or platform.machine(), "threads": 1, "dtype": "float32"}
    versions = {"torch": torch.__version__, "diffusers": version("diffusers")}
    if options.json:
        options.json.write_text(json.dumps({**machine, **versions, "overhead_ms": times}, indent=2))


if __name__ == "__main__":
    main()
