"""Error against network evaluations: samplers of MultiDiff, diffusers and k-diffusion.

All samplers solve the same probability-flow ODE, of an exact denoiser or a trained model, from the same start, on the
same noise levels (EDM's, 80 to 0.002, then 0) and with the same number of evaluations. The error is the root mean
square distance of x0 from a reference solution with very small steps. The samplers of MultiDiff also run on the grids
of their configs. All samplers also run on the grids that `multidiff grid` fits to the model with other samples, which
takes 64 evaluations once.

    python benchmarks/samplers.py --model quickstart/digits --json samples.json --plot samplers.png
"""

import argparse
import json
import platform
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import torch
from sampler_runs import Counted, Fitted, Run, our_runs, peer_runs
from torch import Tensor

import multidiff
from multidiff.diffusion.denoiser import Denoiser
from multidiff.diffusion.grids import KarrasRho
from multidiff.diffusion.mixture import GaussianMixture
from multidiff.diffusion.noise import NoiseSource, sample_seeds
from multidiff.diffusion.samplers import DPMSolverMultistep, sample
from multidiff.diffusion.schedules import Cosine

SAME = (
    ("ours euler", "k-diffusion euler"),
    ("ours heun", "k-diffusion heun"),
    ("ours midpoint", "k-diffusion dpm_2"),
    ("ours lms", "k-diffusion lms"),
    ("ours dpmpp_2m", "k-diffusion dpmpp_2m"),
    ("ours dpmpp_2m", "diffusers DPMSolverMultistep 2"),
    ("ours unipc_2", "diffusers UniPC 2"),
)
"""Pairs of implementations of the same method."""

SHOWN = ("ours dpmpp_2m", "ours dpmpp_2m, fitted grid", "ours unipc_2, fitted grid", "ours unipc_3, fitted grid")
"""Samplers of MultiDiff in the plot."""

PEERS = (
    *("diffusers DPMSolverMultistep 2", "diffusers DPMSolverMultistep 3", "diffusers UniPC 2", "diffusers UniPC 3"),
    *("k-diffusion lms", "k-diffusion heun"),
)
"""Samplers of the peers in the plot; the others coincide with these or lie outside the plot."""

BUDGETS = (4, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64)


class Problem(NamedTuple):
    """A denoiser, the initial noise, the reference solution, and other noise to fit grids on."""

    denoiser: Denoiser
    noise: NoiseSource
    solution: Tensor
    other: NoiseSource


def mixture(dimensions: int) -> Problem:
    """A Gaussian mixture with five components of different widths at about unit scale, in float64."""
    generator = torch.Generator().manual_seed(dimensions)
    means = torch.randn(5, dimensions, generator=generator, dtype=torch.float64)
    stds = 0.1 + 0.3 * torch.rand(5, generator=generator, dtype=torch.float64)
    denoiser = GaussianMixture(Cosine(), means, stds)
    noise = NoiseSource(sample_seeds(0, 0, 256), (dimensions,), torch.float64)
    other = NoiseSource(sample_seeds(1, 0, 32), (dimensions,), torch.float64)
    return Problem(denoiser, noise, solve(denoiser, noise, 4000), other)


def trained(path: str) -> Problem:
    """A trained image model without condition; the reference is its solution in 1000 steps."""
    pipeline = multidiff.load(path)
    noise, other = (NoiseSource(sample_seeds(seed, 0, 32), pipeline.shape) for seed in (0, 1))
    return Problem(pipeline.model.denoiser, noise, solve(pipeline.model.denoiser, noise, 1000), other)


def solve(denoiser: Denoiser, noise: NoiseSource, steps: int) -> Tensor:
    method = DPMSolverMultistep(denoiser.schedule, order=3)
    return sample(denoiser, noise, method, KarrasRho()(denoiser.schedule, steps))


def errors(problem: Problem, runs: dict[str, tuple[Run, int]], budgets: tuple[int, ...]) -> dict[str, dict[int, float]]:
    """Root mean square error of every run at every budget of evaluations that it can keep."""
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


def agreement(problem: Problem, runs: dict[str, tuple[Run, int]], steps: int = 16) -> dict[str, float]:
    """The largest absolute difference of x0 between implementations of the same method."""
    differences = {}
    for pair in SAME:
        with torch.no_grad():
            a, b = (runs[name][0](Counted(problem.denoiser), problem.noise, steps) for name in pair)
        differences[" = ".join(pair)] = (a - b).abs().max().item()
    return differences


def show(title: str, table: dict[str, dict[int, float]], budgets: tuple[int, ...]) -> None:
    print(f"\n{title}: root mean square error\n{'evaluations':34}" + "".join(f"{b:>10}" for b in budgets))
    for name in sorted(table, key=lambda n: table[n].get(budgets[len(budgets) // 2], 9.0)):
        print(f"{name:34}" + "".join(f"{table[name][b]:10.2e}" if b in table[name] else f"{'':10}" for b in budgets))
    best = {b: min((name for name in table if b in table[name]), key=lambda n: table[n][b]) for b in budgets}
    print("lowest at " + ", ".join(f"{b}: {name}" for b, name in best.items()))


def plot(tables: dict[str, dict[str, dict[int, float]]], path: Path) -> None:
    mpl.use("Agg")
    figure, axes = mpl.pyplot.subplots(
        1, len(tables), figsize=(5 * len(tables), 5), sharey=True, squeeze=False, layout="constrained"
    )
    for axis, (title, table) in zip(axes[0], tables.items(), strict=True):
        ours = [name for name in table if name.startswith("ours")]
        lowest = {b: min(table[name][b] for name in ours if b in table[name]) for b in table[SHOWN[0]]}
        axis.loglog(list(lowest), list(lowest.values()), "k-", linewidth=6, alpha=0.2, label="the best of ours")
        for name in [*SHOWN, *PEERS]:
            style = "-o" if name in SHOWN else "--"
            axis.loglog(list(table[name]), list(table[name].values()), style, markersize=4, label=name)
        axis.set(title=title, xlabel="network evaluations", ylim=(1e-5, 2))
        axis.set_xticks(list(lowest), [str(budget) for budget in lowest])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("RMS error of x0")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a trained image model, as a third problem")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    import matplotlib.pyplot  # noqa: F401, PLC0415

    problems = {"mixture in 2 dimensions": mixture(2), "mixture in 64 dimensions": mixture(64)}
    budgets = dict.fromkeys(problems, BUDGETS)
    if options.model:
        problems["trained model"], budgets["trained model"] = trained(options.model), (4, 6, 8, 10, 16, 32)
    tables = {}
    for title, problem in problems.items():
        fitted = Fitted(problem.denoiser, problem.other)
        tables[title] = errors(problem, our_runs(fitted) | peer_runs(fitted), budgets[title])
        show(title, tables[title], budgets[title])
    print("\nlargest difference of x0 between implementations of the same method, 2 dimensions, 16 steps:")
    first = problems["mixture in 2 dimensions"]
    same = agreement(first, our_runs(KarrasRho()) | peer_runs(KarrasRho()))
    for pair, difference in same.items():
        print(f"{pair:58}{difference:.1e}")
    machine = {"machine": platform.processor() or platform.machine(), "torch": torch.__version__, "threads": 1}
    versions = {name: version(name) for name in ("diffusers", "k-diffusion")}
    if options.json:
        results = {"errors": tables, "agreement": same}
        options.json.write_text(json.dumps({**machine, **versions, **results}, indent=2))
    if options.plot:
        plot(tables, options.plot)


if __name__ == "__main__":
    main()
