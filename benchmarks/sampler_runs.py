"""The samplers that `samplers.py` compares: those of MultiDiff, diffusers and k-diffusion."""

from collections.abc import Callable
from typing import Any

import diffusers
import k_diffusion
import torch
from torch import Tensor

from multidiff.configuration import group_options, instantiate, load_option
from multidiff.diffusion.denoiser import Denoiser, Wrapper
from multidiff.diffusion.grids import Grid, KarrasRho
from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.optimized_grid import CANDIDATES, optimized_grid
from multidiff.diffusion.samplers import Sampler, sample
from multidiff.diffusion.schedules import Cosine, Schedule

ITERATIVE_OTHERS = {"adaptive", "consistency", "lcm", "mean_flow", "restart"}
"""Samplers of MultiDiff that do not take a fixed number of deterministic steps."""


class Counted(Wrapper):
    """A denoiser that counts its evaluations."""

    def __init__(self, denoiser: Denoiser):
        super().__init__(denoiser)
        self.calls = 0

    def forward(self, x_t: Tensor, t: Tensor, cond: Any = None) -> Tensor:
        self.calls += 1
        return self.denoiser(x_t, t, cond)

    def at_sigma(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The x0 estimate for a variance-exploding ``x = x0 + sigma noise``."""
        t = self.schedule.time(-torch.log(sigma.double())).clamp(max=1)
        return self((self.schedule.alpha(t).to(x) * x), t)


class Fitted(Grid):
    """The grid that `multidiff grid` fits to a denoiser, for each number of steps."""

    def __init__(self, denoiser: Denoiser, noise: NoiseSource):
        self.denoiser, self.noise = denoiser, noise
        self.known: dict[int, Grid] = {}

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        if steps not in self.known:
            self.known[steps] = optimized_grid(self.denoiser, self.noise, min(steps, CANDIDATES))
        return self.known[steps].times(schedule, steps)


Run = Callable[[Counted, NoiseSource, int], Tensor]
"""``(denoiser, noise, steps) -> x0``."""


def our_runs(fitted: Grid) -> dict[str, tuple[Run, int]]:
    """Every deterministic sampler of MultiDiff on up to three grids, with its evaluations per step."""
    runs: dict[str, tuple[Run, int]] = {}
    for name in sorted(set(group_options("sampler")) - ITERATIVE_OTHERS):
        option = load_option("sampler", name)
        method = instantiate(Sampler, option["method"], schedule=Cosine())
        if method.stochastic:
            continue
        grids = {"": KarrasRho(), ", own grid": instantiate(Grid, option["grid"]), ", fitted grid": fitted}
        if grids[", own grid"] == KarrasRho():
            del grids[", own grid"]
        for kind, grid in grids.items():
            runs[f"ours {name}{kind}"] = (_our_run(option["method"], grid), method.evaluations)
    return runs


def _our_run(config: dict[str, Any], grid: Grid) -> Run:
    def run(denoiser: Counted, noise: NoiseSource, steps: int) -> Tensor:
        method = instantiate(Sampler, config, schedule=denoiser.schedule)
        return sample(denoiser, noise, method, grid(denoiser.schedule, steps))

    return run


def sigmas(denoiser: Counted, grid: Grid, steps: int) -> Tensor:
    """The noise levels of a grid, ``(steps + 1,)``, the last 0."""
    times = grid(denoiser.schedule, steps)
    return torch.exp(-denoiser.schedule.log_snr(times))


def start(noise: NoiseSource, sigma: Tensor) -> Tensor:
    """The initial noise in variance-exploding form."""
    return noise.start() * sigma


def peer_runs(fitted: Grid) -> dict[str, tuple[Run, int]]:
    """The samplers of k-diffusion and diffusers, on EDM's grid and on the fitted grid."""
    runs: dict[str, tuple[Run, int]] = {}
    for kind, grid in {"": KarrasRho(), ", fitted grid": fitted}.items():
        runs |= {f"{name}{kind}": run for name, run in (k_runs(grid) | diffusers_runs(grid)).items()}
    return runs


def k_runs(grid: Grid) -> dict[str, tuple[Run, int]]:
    """The deterministic functions of k-diffusion, with their evaluations per step."""

    def run_of(function: Callable[..., Tensor]) -> Run:
        def run(denoiser: Counted, noise: NoiseSource, steps: int) -> Tensor:
            levels = sigmas(denoiser, grid, steps)
            x = start(noise, levels[0])
            return function(lambda x, s: denoiser.at_sigma(x, s[0]), x, levels.to(x), disable=True)

        return run

    costs = {"euler": 1, "heun": 2, "dpm_2": 2, "lms": 1, "dpmpp_2m": 1}
    functions = {name: getattr(k_diffusion.sampling, f"sample_{name}") for name in costs}
    return {f"k-diffusion {name}": (run_of(functions[name]), cost) for name, cost in costs.items()}


def diffusers_runs(grid: Grid) -> dict[str, tuple[Run, int]]:
    """The multistep schedulers of diffusers, all with one evaluation per step."""
    solver = {"final_sigmas_type": "zero"}
    schedulers: dict[str, tuple[Any, dict[str, Any]]] = {
        "DPMSolverMultistep 2": (diffusers.DPMSolverMultistepScheduler, {"solver_order": 2, **solver}),
        "DPMSolverMultistep 3": (diffusers.DPMSolverMultistepScheduler, {"solver_order": 3, **solver}),
        "UniPC 2": (diffusers.UniPCMultistepScheduler, {"solver_order": 2, **solver}),
        "UniPC 3": (diffusers.UniPCMultistepScheduler, {"solver_order": 3, **solver}),
        "EulerDiscrete": (diffusers.EulerDiscreteScheduler, {}),
    }
    return {f"diffusers {name}": (_diffusers_run(*made, grid), 1) for name, made in schedulers.items()}


def _diffusers_run(kind: Any, settings: dict[str, Any], grid: Grid) -> Run:
    def run(denoiser: Counted, noise: NoiseSource, steps: int) -> Tensor:
        scheduler = kind(**settings)
        scheduler.set_timesteps(steps)
        levels = sigmas(denoiser, grid, steps)
        scheduler.sigmas = levels.to(torch.float32)
        exploding = kind is diffusers.EulerDiscreteScheduler
        x = start(noise, levels[0]) / (1 if exploding else torch.sqrt(1 + levels[0] ** 2))
        for sigma, timestep in zip(levels[:-1], scheduler.timesteps, strict=True):
            scale = torch.sqrt(1 + sigma**2)
            scheduler.scale_model_input(x, timestep)  # some schedulers count their steps here
            ve = x.to(noise.dtype) * (1 if exploding else scale)
            epsilon = (ve - denoiser.at_sigma(ve, sigma)) / sigma
            x = scheduler.step(epsilon, timestep, x).prev_sample
        return x.to(noise.dtype)

    return run
