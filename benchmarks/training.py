"""Training steps on a CPU: with each speed setting, against other libraries, and the overhead around the network.

The steps of a table alternate in one process, so that a busy machine slows all of them equally; the figures are medians
after warm-up. PyTorch counts the FLOP of the forward and backward passes. Throughput is also given relative to matrix
multiplication, measured at the start with the same number of threads. Run it on an idle machine, with the extra
``bench``:

    python benchmarks/training.py --json training.json
    python benchmarks/training.py --parts settings --settings float32 channels-last compile

On a CPU without fast bfloat16 it is up to twenty times slower; ``--dtypes`` and ``--settings`` can leave it out.
"""

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from training_runs import around, processes
from training_steps import (
    SHAPES,
    Setting,
    Step,
    audio_pytorch_step,
    ddpm_pytorch_step,
    diffusers_step,
    names_of,
    our_step,
)

from multidiff.nn.bfloat16 import instruction_sets
from multidiff.training.hardware import matrix_speed, processor

WARMUP = 2
BACKBONES = ("unet", "unet1d_small", "points_latent_small")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
SETTINGS = {
    "float32, loop over weights": Setting(optimizer="loop"),
    "foreach": Setting(optimizer="foreach"),
    "float32": Setting(),
    "bfloat16": Setting(dtype=torch.bfloat16),
    "channels-last": Setting(channels_last=True),
    "compile": Setting(compile=True),
    "channels-last, compile": Setting(channels_last=True, compile=True),
    "bfloat16, channels-last": Setting(torch.bfloat16, channels_last=True),
    "bfloat16, compile": Setting(torch.bfloat16, compile=True),
    "bfloat16, channels-last, compile": Setting(torch.bfloat16, channels_last=True, compile=True),
}
LIKE_UNETV0 = {"blocks": [1, 1, 1, 1, 3, 2, 2, 6]}
"""Our `unet1d` with fewer blocks at high resolution, for the parameters and FLOP of UNetV0."""


def counts(step: Step) -> dict[str, float]:
    """Parameters, and FLOP of forward and backward pass on a batch."""
    network = step.network
    with FlopCounterMode(display=False) as counter:
        step.call(step.x0, torch.rand(len(step.x0))).sum().backward()
    network.zero_grad()
    return {"parameters": sum(p.numel() for p in network.parameters()), "flop": counter.get_total_flops()}


def medians(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Median seconds of each step; a round runs every step once."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(WARMUP + rounds):
        for name, step in steps.items():
            begun = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - begun)
    return {name: statistics.median(durations[WARMUP:]) for name, durations in seconds.items()}


def compared(steps: dict[str, Step], rounds: int, speed: dict[str, float]) -> dict[str, dict[str, float]]:
    """Samples per second of each step, parameters, FLOP, and throughput relative to matrix multiplication."""
    torch.compiler.reset()  # otherwise a new batch size would make torch compile for dynamic sizes
    known = {name: counts(step) for name, step in steps.items()}
    taken = medians({name: step.make for name, step in steps.items()}, rounds)
    return {
        name: {
            **known[name],
            "seconds": seconds,
            "samples_per_second": len(steps[name].x0) / seconds,
            **{f"of_{dtype}": known[name]["flop"] / seconds / fastest for dtype, fastest in speed.items()},
        }
        for name, seconds in taken.items()
    }


def matrices(names: list[str]) -> dict[str, float]:
    """FLOP per second of matrix multiplication, by precision."""
    return {name: matrix_speed(DTYPES[name], 2048, repeats=10) for name in names}


def settings(options: argparse.Namespace, speed: dict[str, float]) -> dict[str, Any]:
    """Each backbone as shipped, with each speed setting."""
    return {
        preset: compared(
            {
                name: our_step(preset, options.batch, SETTINGS[name])
                for name in names_of(SETTINGS, preset, options.settings)
            },
            options.rounds,
            speed,
        )
        for preset in options.backbones
    }


def peers(options: argparse.Namespace, speed: dict[str, float]) -> dict[str, Any]:
    """Ours, without dropout as theirs, against other libraries with their defaults, all in the same precision."""
    size = options.batch
    tables = {}
    for name in options.dtypes:
        dtype = DTYPES[name]
        images = {
            "ours": our_step("unet", size, Setting(dtype), dropout=0.0),
            "ours, compiled": our_step("unet", size, Setting(dtype, compile=True), dropout=0.0),
            "diffusers": diffusers_step(size, dtype),
            "denoising-diffusion-pytorch": ddpm_pytorch_step(size, dtype),
        }
        sounds = {
            "ours": our_step("unet1d", size // 4, Setting(dtype), **LIKE_UNETV0),
            "ours, compiled": our_step("unet1d", size // 4, Setting(dtype, compile=True), **LIKE_UNETV0),
            "audio-diffusion-pytorch": audio_pytorch_step(size // 4, dtype),
        }
        tables |= {
            f"images, {name}": compared(images, options.rounds, speed),
            f"audio, {name}": compared(sounds, options.rounds, speed),
        }
    for rows in tables.values():
        best = max(row["samples_per_second"] for name, row in rows.items() if not name.startswith("ours"))
        for row in rows.values():
            row["to_the_better_peer"] = row["samples_per_second"] / best
    return tables


def memory(options: argparse.Namespace, speed: dict[str, float]) -> dict[str, Any]:
    """Peak memory beyond the weights in a training step, in bytes, with and without gradient checkpointing."""
    found = {}
    for preset in options.backbones:
        plain, spared = (
            peak(our_step(preset, options.batch, Setting(), gradient_checkpointing=spare)) for spare in (False, True)
        )
        found[preset] = {"activations": plain, "with_checkpointing": spared, "ratio": spared / plain}
    return found


def peak(step: Step) -> int:
    """Peak bytes allocated during a step, after one step that allocates what persists."""
    step.make()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        step.make()
    events = [event for event in trace.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])
    return int(held.max())


PARTS: dict[str, Callable[[argparse.Namespace, dict[str, float]], dict[str, Any]]] = {
    "settings": settings,
    "peers": peers,
    "around": around,
    "memory": memory,
    "processes": processes,
}
COMPARED = {"settings", "peers"}
"""Parts that relate throughput to matrix multiplication."""


def environment(speed: dict[str, float]) -> dict[str, Any]:
    packages = ("torch", "lightning", "diffusers", "denoising-diffusion-pytorch", "audio-diffusion-pytorch")
    return {
        "processor": processor(),
        "instructions": instruction_sets(),
        "threads": torch.get_num_threads(),
        "matrices_gflops": {dtype: fastest / 1e9 for dtype, fastest in speed.items()},
        "versions": {name: version(name) for name in packages},
        "shapes": SHAPES,
    }


def show(name: str, value: Any, indent: int = 0) -> None:
    """Nested figures as lines, a dictionary of plain numbers as one."""
    nested = isinstance(value, dict) and any(isinstance(entry, dict) for entry in value.values())
    if not nested:
        entries = value if isinstance(value, dict) else {"": value}
        figures = (
            f"{key} {entry:.4g}" if isinstance(entry, float) else f"{key} {entry}" for key, entry in entries.items()
        )
        line = ", ".join(figures)
        print(f"{'  ' * indent}{name}: {line}", flush=True)
        return
    print(f"{'  ' * indent}{name}:", flush=True)
    for key, entry in value.items():
        show(key, entry, indent + 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES), help="for peers and matrices")
    parser.add_argument("--backbones", nargs="+", choices=SHAPES, default=list(BACKBONES))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="where to write all figures")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    speed = matrices(options.dtypes) if COMPARED & set(options.parts) else {}
    report: dict[str, Any] = {"environment": environment(speed)}
    show("environment", report["environment"])
    for name in options.parts:
        report[name] = PARTS[name](options, speed)
        show(name, report[name])
    report["peak_memory"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    show("peak_memory", report["peak_memory"])
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
