"""Error against network evaluations: our samplers beside diffusers' schedulers and k-diffusion's functions.

All solve the same probability-flow ODE, of the same exact denoiser or the same trained model, from the same start, on
the same noise levels (EDM's, 80 to 0.002, then 0) with the same number of evaluations; the error is the root mean
square distance of x0 to a solution in very small steps. Our samplers are also run on the grids that their configs name.

    python benchmarks/samplers.py --model quickstart/digits --json samples.json --plot samplers.png
"""

import argparse
import json
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import diffusers
import k_diffusion
import matplotlib as mpl
import torch
from torch import Tensor

import multidiff
from modalities.image.unet import UNet
from multidiff.configuration import group_options, instantiate, load_option
from multidiff.diffusion.denoiser import Denoiser, NetworkDenoiser
from multidiff.diffusion.grids import Grid, KarrasRho
from multidiff.diffusion.mixture import GaussianMixture
from multidiff.diffusion.noise import NoiseSource, sample_seeds
from multidiff.diffusion.predictions import Velocity
from multidiff.diffusion.samplers import DPMSolverMultistep, Sampler, sample
from multidiff.diffusion.schedules import Cosine

BUDGETS = (4, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64)
ITERATIVE_OTHERS = {"adaptive", "consistency", "lcm", "restart"}
"""Our samplers that do not take one deterministic path through a given number of steps."""


class Problem(NamedTuple):
    """A denoiser, the samples that start from its noise, and where each of them ends."""

    denoiser: Denoiser
    noise: NoiseSource
    solution: Tensor


class Counted(Denoiser):
    """Counts evaluations."""

    def __init__(self, denoiser: Denoiser):
        super().__init__()
        self.denoiser, self.schedule, self.calls = denoiser, denoiser.schedule, 0

    def forward(self, x_t: Tensor, t: Tensor, cond: Any = None) -> Tensor:
        self.calls += 1
        return self.denoiser(x_t, t, cond)

    def at_sigma(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x0 for a variance-exploding ``x = x0 + sigma noise``."""
        t = self.schedule.time(-torch.log(sigma.double())).clamp(max=1)
        return self((self.schedule.alpha(t).to(x) * x), t)


def mixture(dimensions: int) -> Problem:
    """Five components of unequal width and weight at about unit scale, in float64."""
    generator = torch.Generator().manual_seed(dimensions)
    means = torch.randn(5, dimensions, generator=generator, dtype=torch.float64)
    stds = 0.1 + 0.3 * torch.rand(5, generator=generator, dtype=torch.float64)
    denoiser = GaussianMixture(Cosine(), means, stds)
    noise = NoiseSource(sample_seeds(0, 0, 256), (dimensions,), torch.float64)
    return Problem(denoiser, noise, solve(denoiser, noise, 4000))


def trained(path: str) -> Problem:
    """A trained image model, unconditionally, against its own solution in 1000 steps."""
    pipeline = multidiff.load(path)
    noise = NoiseSource(sample_seeds(0, 0, 32), pipeline.shape)
    return Problem(pipeline.model.denoiser, noise, solve(pipeline.model.denoiser, noise, 1000))


def solve(denoiser: Denoiser, noise: NoiseSource, steps: int) -> Tensor:
    method = DPMSolverMultistep(denoiser.schedule, order=3)
    return sample(denoiser, noise, method, KarrasRho()(denoiser.schedule, steps))


Run = Callable[[Counted, NoiseSource, int], Tensor]
"""From a denoiser, noise and a number of steps to x0."""


def our_runs() -> dict[str, tuple[Run, int]]:
    """Every deterministic sampler that we ship, on the common grid and on its own, with its evaluations a step."""
    runs: dict[str, tuple[Run, int]] = {}
    for name in sorted(set(group_options("sampler")) - ITERATIVE_OTHERS):
        option = load_option("sampler", name)
        method = instantiate(option["method"], schedule=Cosine())
        if method.stochastic:
            continue
        own = instantiate(option["grid"])
        runs[f"ours {name}"] = (_our_run(option["method"], KarrasRho()), method.evaluations)
        if own != KarrasRho():
            runs[f"ours {name}, own grid"] = (_our_run(option["method"], own), method.evaluations)
    return runs


def _our_run(config: dict[str, Any], grid: Grid) -> Run:
    def run(denoiser: Counted, noise: NoiseSource, steps: int) -> Tensor:
        method: Sampler = instantiate(config, schedule=denoiser.schedule)
        return sample(denoiser, noise, method, grid(denoiser.schedule, steps))

    return run


def sigmas(denoiser: Counted, steps: int) -> Tensor:
    """The common levels, ``(steps + 1,)``, the last 0."""
    times = KarrasRho()(denoiser.schedule, steps)
    return torch.exp(-denoiser.schedule.log_snr(times))


def start(noise: NoiseSource, sigma: Tensor) -> Tensor:
    """Our own start, seen from a variance-exploding schedule."""
    return noise.start() * sigma


def k_runs() -> dict[str, tuple[Run, int]]:
    """k-diffusion's deterministic functions with their evaluations a step."""

    def run_of(function: Callable[..., Tensor]) -> Run:
        def run(denoiser: Counted, noise: NoiseSource, steps: int) -> Tensor:
            levels = sigmas(denoiser, steps)
            x = start(noise, levels[0])
            return function(lambda x, s: denoiser.at_sigma(x, s[0]), x, levels.to(x), disable=True)

        return run

    costs = {"euler": 1, "heun": 2, "dpm_2": 2, "lms": 1, "dpmpp_2m": 1}
    functions = {name: getattr(k_diffusion.sampling, f"sample_{name}") for name in costs}
    return {f"k-diffusion {name}": (run_of(functions[name]), cost) for name, cost in costs.items()}


def diffusers_runs() -> dict[str, tuple[Run, int]]:
    """diffusers' multistep schedulers, all of one evaluation a step."""
    solver = {"final_sigmas_type": "zero"}
    schedulers: dict[str, tuple[Any, dict[str, Any]]] = {
        "DPMSolverMultistep 2": (diffusers.DPMSolverMultistepScheduler, {"solver_order": 2, **solver}),
        "DPMSolverMultistep 3": (diffusers.DPMSolverMultistepScheduler, {"solver_order": 3, **solver}),
        "UniPC 2": (diffusers.UniPCMultistepScheduler, {"solver_order": 2, **solver}),
        "UniPC 3": (diffusers.UniPCMultistepScheduler, {"solver_order": 3, **solver}),
        "EulerDiscrete": (diffusers.EulerDiscreteScheduler, {}),
    }
    return {f"diffusers {name}": (_diffusers_run(*made), 1) for name, made in schedulers.items()}


def _diffusers_run(kind: Any, settings: dict[str, Any]) -> Run:
    def run(denoiser: Counted, noise: NoiseSource, steps: int) -> Tensor:
        scheduler = kind(**settings)
        scheduler.set_timesteps(steps)
        levels = sigmas(denoiser, steps)
        scheduler.sigmas = levels.to(torch.float32)
        exploding = kind is diffusers.EulerDiscreteScheduler
        x = start(noise, levels[0]) / (1 if exploding else torch.sqrt(1 + levels[0] ** 2))
        for sigma, timestep in zip(levels[:-1], scheduler.timesteps, strict=True):
            scale = torch.sqrt(1 + sigma**2)
            scheduler.scale_model_input(x, timestep)  # some count their steps there
            ve = x.to(noise.dtype) * (1 if exploding else scale)
            epsilon = (ve - denoiser.at_sigma(ve, sigma)) / sigma
            x = scheduler.step(epsilon, timestep, x).prev_sample
        return x.to(noise.dtype)

    return run


def errors(problem: Problem, runs: dict[str, tuple[Run, int]], budgets: tuple[int, ...]) -> dict[str, dict[int, float]]:
    """Root mean square error of every run at every budget, where the budget is not exceeded."""
    table: dict[str, dict[int, float]] = {}
    for name, (run, cost) in runs.items():
        table[name] = {}
        for budget in budgets:
            steps = (budget + cost - 1) // cost if cost > 1 else budget  # the last step, to 0, takes one evaluation
            counted = Counted(problem.denoiser)
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                x0 = run(counted, problem.noise, steps)
            if counted.calls <= budget:
                table[name][budget] = (x0 - problem.solution).square().mean().sqrt().item()
    return table


def overhead() -> dict[str, float]:
    """Milliseconds of one step without its network, and of one evaluation of a U-Net of 6.6M parameters, at batch 1."""
    x0, steps = torch.zeros(1, 3, 32, 32), 20

    class Nothing(Denoiser):
        schedule = Cosine()

        def forward(self, x_t: Tensor, t: Tensor, cond: Any = None) -> Tensor:
            return x0

    noise = NoiseSource([0], (3, 32, 32))
    grid = KarrasRho()(Nothing.schedule, steps)
    times: dict[str, float] = {}
    for name in ("dpmpp_2m", "dpmpp_3m", "unipc_3", "dpmpp_2m_sde", "ddpm"):
        method = instantiate(load_option("sampler", name)["method"], schedule=Nothing.schedule)
        times[f"ours {name}"] = median_ms(lambda m=method: sample(Nothing(), noise, m, grid)) / steps
    schedulers = {"DPMSolverMultistep": {}, "UniPCMultistep": {"solver_order": 3}, "DDPM": {}}
    for name, settings in schedulers.items():
        kind = getattr(diffusers, f"{name}Scheduler")
        times[f"diffusers {name}"] = median_ms(lambda k=kind, s=settings: _steps_of(k(**s), x0, steps)) / steps
    settings = load_option("backbone", "unet")
    network = NetworkDenoiser(instantiate(settings, channels=3), Cosine(), Velocity()).eval()
    assert isinstance(network.network, UNet)
    with torch.no_grad():
        times["unet evaluation"] = median_ms(lambda: network(x0, torch.tensor(0.5)))
    return times


def _steps_of(scheduler: Any, x: Tensor, steps: int) -> None:
    scheduler.set_timesteps(steps)
    for timestep in scheduler.timesteps:
        scheduler.scale_model_input(x, timestep)
        x = scheduler.step(x, timestep, x).prev_sample


def median_ms(function: Callable[[], Any], rounds: int = 9) -> float:
    durations = []
    for _ in range(rounds + 2):
        began = time.perf_counter()
        function()
        durations.append(1000 * (time.perf_counter() - began))
    return statistics.median(durations[2:])


def show(title: str, table: dict[str, dict[int, float]], budgets: tuple[int, ...]) -> None:
    print(f"\n{title}: root mean square error\n{'evaluations':34}" + "".join(f"{b:>10}" for b in budgets))
    for name in sorted(table, key=lambda n: table[n].get(budgets[len(budgets) // 2], 9.0)):
        print(f"{name:34}" + "".join(f"{table[name][b]:10.2e}" if b in table[name] else f"{'':10}" for b in budgets))
    best = {b: min((name for name in table if b in table[name]), key=lambda n: table[n][b]) for b in budgets}
    print("lowest at " + ", ".join(f"{b}: {name}" for b, name in best.items()))


def plot(tables: dict[str, dict[str, dict[int, float]]], path: Path) -> None:
    mpl.use("Agg")
    figure, axes = mpl.pyplot.subplots(1, len(tables), figsize=(6 * len(tables), 5), squeeze=False)
    for axis, (title, table) in zip(axes[0], tables.items(), strict=True):
        middle = BUDGETS[len(BUDGETS) // 2]
        ours = sorted((n for n in table if n.startswith("ours")), key=lambda n: table[n].get(middle, 9.0))[:5]
        for name in [*ours, *(n for n in table if not n.startswith("ours"))]:
            style = "-o" if name in ours else "--"
            axis.loglog(list(table[name]), list(table[name].values()), style, markersize=3, label=name)
        axis.set(title=title, xlabel="network evaluations", ylabel="RMS error of x0")
        axis.legend(fontsize=6)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a trained image model to be sampled too")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    import matplotlib.pyplot  # noqa: F401, PLC0415

    runs = our_runs() | k_runs() | diffusers_runs()
    problems = {"mixture in 2 dimensions": mixture(2), "mixture in 64 dimensions": mixture(64)}
    budgets = dict.fromkeys(problems, BUDGETS)
    if options.model:
        problems["trained model"], budgets["trained model"] = trained(options.model), (4, 6, 8, 10, 16, 32)
    tables = {}
    for title, problem in problems.items():
        tables[title] = errors(problem, runs, budgets[title])
        show(title, tables[title], budgets[title])
    times = overhead()
    print("\nmilliseconds a step, batch 1, 3x32x32, without the network:")
    for name, milliseconds in times.items():
        print(f"{name:34}{milliseconds:8.3f}  {100 * milliseconds / times['unet evaluation']:.1f} % of an evaluation")
    machine = {"machine": platform.processor() or platform.machine(), "torch": torch.__version__, "threads": 1}
    versions = {name: version(name) for name in ("diffusers", "k-diffusion")}
    if options.json:
        options.json.write_text(json.dumps({**machine, **versions, "errors": tables, "overhead_ms": times}, indent=2))
    if options.plot:
        plot(tables, options.plot)


if __name__ == "__main__":
    main()
