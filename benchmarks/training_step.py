"""One training step of our image U-Net beside diffusers' UNet2DModel, of equal size and equal work, in one process.

A step is forward, backward and AdamW on 16 images of 3x32x32. The contenders take turns, so that whatever else the
machine does falls on all of them alike. Two peers: UNet2DModel as it comes, with attention heads of 8 channels, and the
same with heads of 64 channels, as ours has. Run it on an idle machine:

    python benchmarks/training_step.py --rounds 15 --json training_step.json

A CPU without bfloat16 instructions takes some twenty times as long in it: that dtype has its own, smaller number
of rounds, and ``--dtypes float32`` leaves it out.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import diffusers
import torch
import yaml
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from modalities.image.unet import UNet

BATCH, CHANNELS, SIDE = 16, 3, 32
ROOT = Path(__file__).parents[1]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
WARMUP = 1
PEERS = ("diffusers", "diffusers, heads of 64")


class Contender(NamedTuple):
    """A network and how to call it on images and one number an image."""

    network: nn.Module
    call: Callable[[Tensor, Tensor], Tensor]


def ours() -> Contender:
    settings: dict[str, Any] = yaml.safe_load((ROOT / "conf/backbone/unet.yaml").read_text())
    del settings["_target_"]
    network = UNet(channels=CHANNELS, **settings)
    return Contender(network, network)


def peer(head_size: int) -> Contender:
    """A small UNet2DModel as usual: attention at 16x16, at 8x8 and in the middle."""
    network: Any = diffusers.UNet2DModel(  # it is not typed
        sample_size=SIDE,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        block_out_channels=(64, 128, 128),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=head_size,
    )
    return Contender(network, lambda x, t: network(x, 1000 * t).sample)


def training_step(contender: Contender, dtype: torch.dtype) -> Callable[[], None]:
    """A function that makes one step. Every contender has the same optimizer and the same data."""
    generator = torch.Generator().manual_seed(0)
    x, target = torch.randn(2, BATCH, CHANNELS, SIDE, SIDE, generator=generator)
    t = torch.rand(BATCH, generator=generator)
    optimizer = torch.optim.AdamW(contender.network.parameters(), lr=1e-4)

    def step() -> None:
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            output = contender.call(x, t)
        (output.float() - target).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def size_and_work(contender: Contender) -> dict[str, int]:
    """Parameters, and floating-point operations of one step."""
    with FlopCounterMode(display=False) as counter:
        training_step(contender, torch.float32)()
    parameters = sum(parameter.numel() for parameter in contender.network.parameters())
    return {"parameters": parameters, "flops": counter.get_total_flops()}


def seconds_per_step(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Duration of each step in each round, after warm-up; a round makes every step once."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(WARMUP + rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - start)
    return {name: durations[WARMUP:] for name, durations in seconds.items()}


def environment() -> dict[str, str | int]:
    """What the figures depend on."""
    return {
        "machine": _processor(),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "optimizer": "AdamW, torch's default implementation, for all",
        "batch": f"{BATCH} x {CHANNELS} x {SIDE} x {SIDE}",
    }


def _processor() -> str:
    names = [line.split(":")[1] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    return f"{names[0].strip()}, {torch.backends.cpu.get_cpu_capability()}, {len(names)} cores"


def measure(rounds: dict[str, int]) -> dict[str, Any]:
    """All figures, as they go into the JSON file; ``rounds`` for each dtype to be timed."""
    contenders = {"ours": ours(), PEERS[0]: peer(8), PEERS[1]: peer(64)}
    report: dict[str, Any] = {"environment": environment(), "seconds": {}}
    report["contenders"] = {name: size_and_work(contender) for name, contender in contenders.items()}
    for dtype_name, count in rounds.items():
        steps = {name: training_step(contender, DTYPES[dtype_name]) for name, contender in contenders.items()}
        report["seconds"][dtype_name] = seconds_per_step(steps, count)
    medians = {
        name: {dtype: statistics.median(report["seconds"][dtype][name]) for dtype in rounds} for name in contenders
    }
    best = {name: min(by_dtype.values()) for name, by_dtype in medians.items()}
    report["medians"] = medians
    report["ratio"] = {name: best["ours"] / best[name] for name in PEERS}
    return report


def show(report: dict[str, Any]) -> None:
    for name, value in report["environment"].items():
        print(f"{name:12} {value}")
    reference = report["contenders"]["ours"]
    for name, counts in report["contenders"].items():
        relative = ", ".join(f"{counts[key] / reference[key]:.3f} of our {key}" for key in reference)
        print(
            f"\n{name}: {counts['parameters'] / 1e6:.2f} M parameters, {counts['flops'] / 1e9:.1f} GFLOP ({relative})"
        )
        for dtype, median in report["medians"][name].items():
            print(f"  {dtype:9} {median:.3f} s a step, fastest {min(report['seconds'][dtype][name]):.3f} s")
    for name, ratio in report["ratio"].items():
        print(f"\nours / {name}: {ratio:.3f} (medians, the better dtype of each)", end="")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="timed float32 steps of each contender")
    parser.add_argument("--rounds-bfloat16", type=int, default=1)
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="where to write all figures")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rounds = {"float32": arguments.rounds, "bfloat16": arguments.rounds_bfloat16}
    report = measure({dtype: rounds[dtype] for dtype in arguments.dtypes})
    show(report)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
