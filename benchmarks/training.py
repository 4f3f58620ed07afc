"""Training steps on a processor: by lever, beside other libraries, and what there is around the network.

Every table is of steps that take turns in one process, so that whatever else the machine does falls on all alike; the
figures are medians after warm-up. FLOP are counted by torch for forward and backward pass; the speed at matrices, of
which shares are given, is measured at the start, with as many threads. Run it on an idle machine, with the extra
``bench``:

    python benchmarks/training.py --json training.json
    python benchmarks/training.py --parts levers --levers float32 channels-last compile

A processor without fast bfloat16 takes up to twenty times as long in it; ``--dtypes`` and ``--levers`` can leave it
out.
"""

import argparse
import json
import multiprocessing
import os
import re
import resource
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
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

from multidiff.configuration import compose
from multidiff.training.hardware import instruction_sets, matrix_speed, processor
from multidiff.training.module import DiffusionModule
from multidiff.training.train import train

WARMUP = 2
BACKBONES = ("unet", "unet1d_small", "points_latent_small")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LEVERS = {
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
"""Our `unet1d` with fewer blocks where sounds are long, which brings it to UNetV0's FLOP at its parameters."""


def counts(step: Step) -> dict[str, float]:
    """Parameters, and FLOP of forward and backward pass on a batch."""
    network = step.network
    with FlopCounterMode(display=False) as counter:
        step.call(step.x0, torch.rand(len(step.x0))).sum().backward()
    network.zero_grad()
    return {"parameters": sum(p.numel() for p in network.parameters()), "flop": counter.get_total_flops()}


def medians(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Median seconds of each step; a round makes every step once."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(WARMUP + rounds):
        for name, step in steps.items():
            begun = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - begun)
    return {name: statistics.median(durations[WARMUP:]) for name, durations in seconds.items()}


def compared(steps: dict[str, Step], rounds: int, speed: dict[str, float]) -> dict[str, dict[str, float]]:
    """Samples a second of each step, what it is made of, and its share of the machine's speed at matrices."""
    torch.compiler.reset()  # or what is compiled next would be compiled for batches of any size, as tables differ
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
    """FLOP a second of the machine, by precision."""
    return {name: matrix_speed(DTYPES[name], 2048, repeats=10) for name in names}


def levers(options: argparse.Namespace, speed: dict[str, float]) -> dict[str, Any]:
    """Each backbone as shipped, by lever."""
    return {
        preset: compared(
            {name: our_step(preset, options.batch, LEVERS[name]) for name in names_of(LEVERS, preset, options.levers)},
            options.rounds,
            speed,
        )
        for preset in options.backbones
    }


def peers(options: argparse.Namespace, speed: dict[str, float]) -> dict[str, Any]:
    """Ours, without dropout, which theirs have none of, beside theirs as they come, all in the same precision."""
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
    """Bytes that a pass forward and back holds at most beyond weights, with and without gradient checkpointing."""
    found = {}
    for preset in options.backbones:
        plain, spared = (
            peak(our_step(preset, options.batch, Setting(), gradient_checkpointing=spare)) for spare in (False, True)
        )
        found[preset] = {"activations": plain, "with_checkpointing": spared, "ratio": spared / plain}
    return found


def peak(step: Step) -> int:
    """The most bytes that were allocated and not yet freed during a step, after one that makes what stays."""
    step.make()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        step.make()
    events = [event for event in trace.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])
    return int(held.max())


def pictures(folder: Path, count: int = 256) -> None:
    random = np.random.default_rng(0)
    for i in range(count):
        Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f"{i}.png")


def real_run(folder: Path, run: str, *overrides: str) -> Path:
    """A training on pictures in ``folder``; its run directory."""
    settings = ("experiment=image/folder", f"data.root={folder}", "data.size=32", "loader.workers=0")
    quiet = ("callbacks.previews.every=0", "trainer.val_check_interval=100000", "trainer.accelerator=cpu")
    config = compose([*settings, *quiet, "trainer.precision=32-true", *overrides, f"run_dir={folder}-{run}"])
    return train(config).run_dir


def around(options: argparse.Namespace, speed: dict[str, float]) -> dict[str, Any]:
    """A real training of 5.5M parameters in batches of 32, as `trainer.profile=true` sees it."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "pictures"
        folder.mkdir()
        pictures(folder)
        widths = "backbone.widths=[64,128,192]"
        run_dir = real_run(
            folder, "run", widths, "loader.batch_size=32", "trainer.max_steps=20", "trainer.profile=true"
        )
        page = (run_dir / "profile" / "summary.md").read_text()
    parts = {name: float(share) / 100 for name, share in re.findall(r"\| ([^|]+) \| [\d.]+ \| ([\d.]+)% \|", page)}
    return {"parts": parts, "around": sum(share for name, share in parts.items() if not name.startswith("network"))}


def processes(options: argparse.Namespace, speed: dict[str, float]) -> dict[str, Any]:
    """Samples a second of one process on one core, and of two on a core each, which share their gradients."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "pictures"
        folder.mkdir()
        pictures(folder)
        rates = {count: together(count, folder, options.batch) for count in (1, 2)}
    return {"one": rates[1], "two": rates[2], "ratio": rates[2] / rates[1]}


def together(count: int, folder: Path, size: int) -> float:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    ranks = [context.Process(target=pinned, args=(rank, count, port, folder, size, results)) for rank in range(count)]
    for process in ranks:
        process.start()
    rates = [results.get() for _ in ranks]
    for process in ranks:
        process.join()
    return sum(rates)


def pinned(rank: int, count: int, port: int, folder: Path, size: int, results: Any) -> None:
    """Train on core ``rank`` alone, as one of ``count`` processes; the median rate of the steps after the first."""
    os.sched_setaffinity(0, {rank})
    torch.set_num_threads(1)
    names = {"LOCAL_RANK": rank, "RANK": rank, "WORLD_SIZE": count, "NODE_RANK": 0, "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in names.items()} | {"MASTER_ADDR": "127.0.0.1"}
    begun: list[float] = []
    DiffusionModule.on_train_batch_start = lambda *batch: begun.append(time.perf_counter())  # type: ignore[assignment]
    many = ["trainer=cpu_ddp"] if count > 1 else []
    real_run(folder, f"of_{count}", *many, f"loader.batch_size={size}", "trainer.max_steps=10")
    results.put(size / statistics.median(np.diff(begun)[WARMUP:].tolist()))


PARTS: dict[str, Callable[[argparse.Namespace, dict[str, float]], dict[str, Any]]] = {
    "levers": levers,
    "peers": peers,
    "around": around,
    "memory": memory,
    "processes": processes,
}
COMPARED = {"levers", "peers"}
"""Parts that give shares of the speed at matrices."""


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
    parser.add_argument("--levers", nargs="+", choices=LEVERS, default=list(LEVERS))
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
