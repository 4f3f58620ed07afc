"""How far each acceleration of `multidiff speedup` moves the samples of a bundled model, and what it saves.

Each condition has --seeds samples. Differences are root mean squares over x0, relative to its standard deviation over
the seeds of a condition: from the model's own samples of 128 steps, and from those of the same steps without the
acceleration. Costs are multiplications in the network for one sample, as `torch.utils.flop_counter` counts them, in
units of one evaluation, so that they do not depend on the machine. Grids are fitted to samples of other seeds.

    python benchmarks/accelerations.py --json accelerations.json
"""

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from contest import environment, write
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import multidiff
from multidiff.configuration import load_option
from multidiff.sampling.fine_runs import fine_runs
from multidiff.sampling.pipeline import Pipeline
from multidiff.sampling.plan import Plan
from multidiff.sampling.speedup import INTERVALS, REFERENCE

CONDITIONS: Mapping[str, Sequence[Mapping[str, str]]] = {
    "drums": [{"label": "kick"}, {"label": "snare"}, {"prompt": "a long bright open hat"}, {"prompt": "a low tom"}],
    "emoji": [
        {"prompt": "a purple dog"},
        {"prompt": "a red car"},
        {"prompt": "a green cactus"},
        {"prompt": "a yellow star"},
    ],
}
"""What is generated with each model."""

STEPS, FEW = 20, 10
"""Steps of the accelerated samples, and of those on a fitted grid."""


Way = tuple[Mapping[str, Any], str]
"""The config of a sampler, and the name of the way of the same steps without the acceleration."""


@dataclass(frozen=True)
class Figures:
    """What a way to sample gives.

    Attributes:
        cost: multiplications for a sample, in units of one evaluation of the network.
        difference: from many steps.
        change: from the same steps without the acceleration; 0 where there is none.
    """

    cost: float
    difference: float
    change: float


def ways(plan: Plan) -> dict[str, Way]:
    """The accelerations of ``plan``, on its own sampler."""
    usual, few = f"{STEPS} steps", f"{FEW} steps"
    own = {**plan.sampler, "steps": STEPS}
    levels = fine_runs(plan).grid(FEW).log_snr
    fitted = {"_target_": "multidiff.diffusion.grids.Interpolated", "log_snr": list(levels)}
    settings: dict[str, Mapping[str, Any]] = {
        **{f"features of {reuse} steps": {"reuse": reuse} for reuse in (2, 3)},
        **{f"guidance in {interval}": {"guidance_interval": list(interval)} for interval in INTERVALS},
        "bfloat16": {"precision": "bfloat16"},
    }
    return {
        usual: (own, usual),
        few: ({**own, "steps": FEW}, few),
        "fitted grid": ({**own, "steps": FEW, "grid": fitted}, few),
        **{name: ({**own, "speed": speed}, usual) for name, speed in settings.items()},
    }


def measured(pipeline: Pipeline, conditions: Sequence[Mapping[str, str]], seeds: int) -> dict[str, Figures]:
    """The figures of each way; differences are quadratic means over the conditions."""
    name, steps = REFERENCE
    many = {**load_option("sampler", name), "steps": steps}
    differences, changes = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    for condition in conditions:
        plan, other = (pipeline.plan(seeds, seed=seed, **condition) for seed in (0, 1))  # type: ignore[arg-type]
        reference = x0(plan, many)
        spread, found, chosen = reference.var(0).mean().sqrt().item(), dict[str, Tensor](), ways(other)
        for way, (sampler, plain) in chosen.items():
            found[way] = x0(plan, sampler)
            differences[way].append(quadratic_mean(found[way] - reference) / spread)
            changes[way].append(quadratic_mean(found[way] - found[plain]) / spread)
    means = ([quadratic_mean(torch.tensor(each[way])) for way in chosen] for each in (differences, changes))
    costs = [cost(plan, sampler) for sampler, _ in chosen.values()]
    return {way: Figures(*figures) for way, *figures in zip(chosen, costs, *means, strict=True)}


def x0(plan: Plan, sampler: Mapping[str, Any]) -> Tensor:
    """The samples of ``plan`` by another sampler, in the space of the network."""
    return replace(plan, sampler=sampler).x0(range(len(plan)))


def cost(plan: Plan, sampler: Mapping[str, Any]) -> float:
    """The multiplications in the network for a sample, in units of one evaluation of it; all precisions count alike."""
    speed = {name: value for name, value in sampler.get("speed", {}).items() if name != "precision"}
    unguided = replace(plan, guidance=replace(plan.guidance, scale=1.0), sampler={**plan.sampler, "steps": 1})
    return _flops(replace(plan, sampler={**sampler, "speed": speed})) / _flops(unguided)


def _flops(plan: Plan) -> int:
    """Of the network for the first sample, whose conditions are encoded before."""
    conditions = plan.conditions()
    plan.denoiser(range(1), conditions)
    conditions(plan.fields(range(1)))
    with FlopCounterMode(display=False) as counter:
        plan.x0(range(1), conditions=conditions)
    return int(counter.get_total_flops())


def quadratic_mean(values: Tensor) -> float:
    return values.square().mean().sqrt().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(CONDITIONS), choices=list(CONDITIONS))
    parser.add_argument("--seeds", type=int, default=4, help="samples of each condition")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    record: dict[str, Any] = {"environment": environment(), "seeds": options.seeds}
    for model in options.models:
        found = measured(multidiff.load(model, "cpu"), CONDITIONS[model], options.seeds)
        record[model] = {way: asdict(figures) for way, figures in found.items()}
        print(f"{model:<28}  evaluations  from many steps  from the same steps")
        for way, figures in found.items():
            print(f"{way:<28}  {figures.cost:11.1f}  {figures.difference:15.3f}  {figures.change:19.3f}", flush=True)
    write(options.json, record)


if __name__ == "__main__":
    main()
