"""Sampling a tiny Stable Diffusion: time and peak memory, compared with the pipeline of diffusers.

    python benchmarks/pretrained.py --json pretrained.json

Both sample the same folder, of random weights, with the same prompts, steps and guidance, on one thread of a CPU. Time:
of that thread, which other load on the machine hardly changes; medians over rounds in one process, in which both take
turns to be first. Memory: the peak of a process of its own for each, with its libraries.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import diffusers
import torch

import multidiff
from tests.pretrained import folders

PROMPTS, NEGATIVE, SCALE = ["a fox", "an owl"], "blur", 5.0
SIDES = ("ours", "diffusers")


def saved(folder: Path, width: int) -> None:
    """A Stable Diffusion whose U-Net has ``width`` channels in its first block, with the DDIM scheduler."""
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(
        sample_size=16, block_out_channels=(width, 2 * width), layers_per_block=1, cross_attention_dim=16,
        norm_num_groups=8, attention_head_dim=8, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    folders.stable_diffusion(folder)
    unet.save_pretrained(folder / "unet")


def sampling(side: str, folder: Path, steps: int) -> Callable[[], Any]:
    """A function that generates one picture of each prompt."""
    if side == "ours":
        pipeline = multidiff.load(folder, "cpu")
        request: dict[str, Any] = {"prompt": PROMPTS, "negative": NEGATIVE, "guidance": SCALE, "steps": steps}
        return lambda: pipeline.sample(len(PROMPTS), **request)
    theirs = diffusers.StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    theirs.set_progress_bar_config(disable=True)
    opposite = [NEGATIVE] * len(PROMPTS)
    return lambda: theirs(PROMPTS, negative_prompt=opposite, guidance_scale=SCALE, num_inference_steps=steps)


def seconds(folder: Path, steps: int, rounds: int) -> dict[str, list[float]]:
    """Of the processor, by side and round, after one round to warm up."""
    turns = {side: sampling(side, folder, steps) for side in SIDES}
    found: dict[str, list[float]] = {side: [] for side in SIDES}
    for round in range(rounds + 1):
        for side in SIDES[:: 1 - 2 * (round % 2)]:
            began = time.process_time()
            turns[side]()
            found[side].append(time.process_time() - began)
    return {side: values[1:] for side, values in found.items()}


def peak(side: str, folder: Path, steps: int) -> float:
    """Megabytes that a process takes that samples once."""
    command = [sys.executable, __file__, "--peak", side, "--folder", str(folder), "--steps", str(steps)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def measured_peak(side: str, folder: Path, steps: int) -> float:
    sampling(side, folder, steps)()
    status = Path("/proc/self/status").read_text()  # getrusage would count the peak of the parent too
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peak", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak:
        print(measured_peak(options.peak, options.folder, options.steps))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "sd"
        saved(folder, options.width)
        times = seconds(folder, options.steps, options.rounds)
        ratio = statistics.median(mine / theirs for mine, theirs in zip(*times.values(), strict=True))
        peaks = {side: peak(side, folder, options.steps) for side in SIDES}
    result = {
        "machine": platform.processor() or platform.machine(),
        "versions": {name: version(name) for name in ("torch", "diffusers", "transformers")},
        "threads": 1,
        "dtype": "float32",
        "steps": options.steps,
        "seconds": {side: statistics.median(values) for side, values in times.items()},
        "time_ratio": ratio,
        "peak_megabytes": peaks,
    }
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
