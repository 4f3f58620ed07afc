"""Error against steps of a pretrained pipeline: our samplers, and the schedulers of diffusers.

    PYTHONPATH=. python benchmarks/pretrained_accuracy.py --json accuracy.json

All start from the same noise at the last training step and follow the same probability-flow ODE, of a tiny Stable
Diffusion of random weights with guidance. The error is the root mean square distance of the final latents from the
solution in 1000 steps, divided by the standard deviation of that solution. Our samplers take a grid that is fitted as
`multidiff grid` fits it, on other noise. Schedulers of diffusers take each of their noise levels, with the spacing
``trailing``, which starts at the last training step; the best of them counts at each number of steps.
"""

import argparse
import json
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import torch
from pretrained import NEGATIVE, PROMPTS, SCALE, saved
from torch import Tensor

import multidiff
from multidiff.configuration import load_option
from multidiff.diffusion.optimized_grid import optimized_grid
from multidiff.sampling.plan import Plan

OURS = ("dpmpp_2m", "dpmpp_3m", "unipc_2", "unipc_3")
OUR_STEPS = (10, 15, 20, 25, 30)
THEIR_STEPS = (*OUR_STEPS, 35, 40, 50, 60, 80)
REFERENCE = ("dpmpp_3m", 1000)
ZERO = {"final_sigmas_type": "zero"}
SOLVERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "DDIM": (diffusers.DDIMScheduler, {"set_alpha_to_one": True}),
    "Euler": (diffusers.EulerDiscreteScheduler, ZERO),
    "DPM-Solver++ 2": (diffusers.DPMSolverMultistepScheduler, {"solver_order": 2, **ZERO}),
    "DPM-Solver++ 3": (diffusers.DPMSolverMultistepScheduler, {"solver_order": 3, **ZERO}),
    "UniPC 2": (diffusers.UniPCMultistepScheduler, {"solver_order": 2, **ZERO}),
    "UniPC 3": (diffusers.UniPCMultistepScheduler, {"solver_order": 3, **ZERO}),
    "DEIS 3": (diffusers.DEISMultistepScheduler, {"solver_order": 3}),
}
LEVELS: dict[str, dict[str, bool]] = {
    "": {},
    "Karras": {"use_karras_sigmas": True},
    "exponential": {"use_exponential_sigmas": True},
    "uniform log SNR": {"use_lu_lambdas": True},
}


def planned(folder: Path, seed: int, count: int) -> Plan:
    """A request for ``count`` samples, each with one of the prompts."""
    return multidiff.load(folder, "cpu").plan(count, prompt=PROMPTS, negative=NEGATIVE, guidance=SCALE, seed=seed)


def ours(plan: Plan, other: Plan, steps: int) -> dict[str, Tensor]:
    """The latents of ``plan`` by each sampler, on a grid of ``steps`` that is fitted to ``other``, and as it is."""
    rows = range(len(other))
    noise = other.seeds.noise(rows, other.pipeline.noise)
    fitted = optimized_grid(other.denoiser(rows), noise, steps, other.conditions()(other.fields(rows)))
    found = {"as the folder says": replace(plan, sampler={**plan.sampler, "steps": steps}).x0(range(len(plan)))}
    for name in OURS:
        grid = {"_target_": "multidiff.diffusion.grids.Interpolated", "log_snr": list(fitted.log_snr)}
        found[f"{name}, fitted grid"] = solution(plan, name, steps, grid=grid)
    return found


def solution(plan: Plan, name: str, steps: int, **changed: Any) -> Tensor:
    return replace(plan, sampler={**load_option("sampler", name), "steps": steps, **changed}).x0(range(len(plan)))


def schedulers(config: Any) -> Iterator[tuple[str, Any]]:
    """Every scheduler of diffusers that is compared, by a name."""
    for name, (kind, settings) in SOLVERS.items():
        for level, chosen in LEVELS.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made = kind.from_config(config, **settings, **chosen, timestep_spacing="trailing")
            if all(made.config.get(key) for key in chosen):
                yield ", ".join(filter(None, (name, level))), made


def theirs(folder: Path, noise: Tensor, steps: tuple[int, ...]) -> Iterator[tuple[str, int, Tensor]]:
    """The latents of each scheduler of diffusers from ``noise`` at each number of steps."""
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    prompts = [PROMPTS[i % len(PROMPTS)] for i in range(len(noise))]
    request = {"negative_prompt": [NEGATIVE] * len(noise), "guidance_scale": SCALE, "output_type": "latent"}
    for name, scheduler in schedulers(pipeline.scheduler.config):
        pipeline.scheduler = scheduler
        for count in steps:
            yield name, count, pipeline(prompts, latents=noise, num_inference_steps=count, **request).images


def measured(folder: Path, count: int) -> dict[str, dict[str, dict[int, float]]]:
    """Errors by side, sampler and number of steps."""
    plan, other = planned(folder, 0, count), planned(folder, 1, count)
    reference = solution(plan, *REFERENCE)

    def error(latents: Tensor) -> float:
        return ((latents.double() - reference.double()).square().mean().sqrt() / reference.std()).item()

    table: dict[str, dict[str, dict[int, float]]] = {"ours": {}, "diffusers": {}}
    for steps in OUR_STEPS:
        for name, latents in ours(plan, other, steps).items():
            table["ours"].setdefault(name, {})[steps] = error(latents)
    noise = plan.seeds.noise(range(count), plan.pipeline.noise).start()
    for name, steps, latents in theirs(folder, noise, THEIR_STEPS):
        table["diffusers"].setdefault(name, {})[steps] = error(latents)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=32, help="channels of the U-Net's first block")
    parser.add_argument("--count", type=int, default=4, help="samples")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary, torch.no_grad():
        folder = Path(temporary) / "sd"
        saved(folder, options.width)
        table = measured(folder, options.count)
    for side, rows in table.items():
        for name, errors in sorted(rows.items(), key=lambda row: row[1][20]):
            print(f"{side:10}{name:40}" + "".join(f"  {steps}: {error:.1e}" for steps, error in errors.items()))
    best = {steps: min(row[steps] for row in table["diffusers"].values()) for steps in THEIR_STEPS}
    mine = min(row[20] for row in table["ours"].values())
    enough = [steps for steps in THEIR_STEPS if best[steps] <= mine]
    print("diffusers, best at each number of steps:", {steps: f"{error:.1e}" for steps, error in best.items()})
    needed = min(enough) if enough else f"more than {THEIR_STEPS[-1]}"
    print(f"ours at 20 steps: {mine:.1e}; diffusers needs {needed} steps")
    if options.json:
        options.json.write_text(json.dumps(table, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
