"""Time of a training step of both point backbones as the number of points doubles.

A step is forward, backward and AdamW on one cloud of 6 channels, on one thread. The number of points doubles from 1024
on. All sizes take turns, so that other load on the machine affects all of them equally. Run it on an idle machine:

    python benchmarks/points_scaling.py --rounds 7 --json points_scaling.json

The plain backbone has the width and about the depth of the other, and stops at ``--plain`` points, since the cost of
its attention is quadratic.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import yaml
from torch import nn

from modalities.shape.transformer import LatentPointTransformer, PointTransformer

CHANNELS = 6
FEWEST = 1024
ROOT = Path(__file__).parents[1]


def linear() -> nn.Module:
    settings = yaml.safe_load((ROOT / "conf/backbone/points_latent_small.yaml").read_text())
    del settings["_target_"]
    return LatentPointTransformer(channels=CHANNELS, **settings)


def plain() -> nn.Module:
    settings = yaml.safe_load((ROOT / "conf/backbone/points_latent_small.yaml").read_text())
    depth = settings["rounds"] * (1 + settings["latent_blocks"])
    return PointTransformer(
        channels=CHANNELS, width=settings["width"], depth=depth, head_size=settings["head_size"], octaves=3
    )


def stepper(network: nn.Module, points: int) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(network.parameters(), foreach=True)
    x, log_snr = torch.randn(1, CHANNELS, points), torch.zeros(1)

    def step() -> None:
        (network(x, log_snr) - x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def measured(steppers: dict[tuple[str, int], Callable[[], None]], rounds: int) -> dict[tuple[str, int], float]:
    """Median seconds of a step of each, after one warm-up step."""
    seconds: dict[tuple[str, int], list[float]] = {key: [] for key in steppers}
    for round_ in range(rounds + 1):
        for key, step in steppers.items():
            began = time.perf_counter()
            step()
            if round_:
                seconds[key].append(time.perf_counter() - began)
    return {key: statistics.median(values) for key, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--most", type=int, default=16384, help="points")
    parser.add_argument("--plain", type=int, default=8192, help="points of the plain backbone at most")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    networks = {"linear": (linear(), options.most), "plain": (plain(), options.plain)}
    sizes = [FEWEST << i for i in range((options.most // FEWEST).bit_length())]
    steppers = {
        (name, points): stepper(network, points)
        for points in sizes
        for name, (network, most) in networks.items()
        if points <= most
    }
    seconds = measured(steppers, options.rounds)
    machine = {"processor": platform.processor() or platform.machine(), "torch": torch.__version__, "threads": 1}
    weights = {name: sum(p.numel() for p in network.parameters()) for name, (network, _) in networks.items()}
    print(f"{machine} parameters {weights} float32")
    results = []
    for name, points in steppers:
        before = seconds.get((name, points // 2))
        growth = None if before is None else seconds[name, points] / before
        results.append({"backbone": name, "points": points, "seconds": seconds[name, points], "growth": growth})
        print(f"{name:7} {points:6} points {seconds[name, points]:8.3f} s", "" if growth is None else f"x {growth:.2f}")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "parameters": weights, "steps": results}, indent=2))


if __name__ == "__main__":
    main()
