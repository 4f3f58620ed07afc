"""Training runs on generated pictures: the overhead around the network, and the scaling to two processes."""

import argparse
import multiprocessing
import os
import re
import socket
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from multidiff.configuration import compose
from multidiff.training.module import DiffusionModule
from multidiff.training.train import train

WARMUP = 2


def pictures(folder: Path, count: int = 256) -> None:
    random = np.random.default_rng(0)
    for i in range(count):
        Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f"{i}.png")


def real_run(folder: Path, run: str, *overrides: str) -> Path:
    """Train on the pictures in ``folder``; returns the run directory."""
    method = ("schedule=cosine", "prediction=velocity", "objective=denoising", "optimizer=adamw")
    settings = ("experiment=image/folder", f"data.root={folder}", "data.size=32", "loader.workers=0", *method)
    quiet = ("callbacks.previews.every=0", "trainer.val_check_interval=100000", "trainer.accelerator=cpu")
    config = compose([*settings, *quiet, "trainer.precision=32-true", *overrides, f"run_dir={folder}-{run}"])
    return train(config).run_dir


def around(options: argparse.Namespace, speed: dict[str, float]) -> dict[str, Any]:
    """Profile of a training run with 5.5M parameters and batches of 32, by `trainer.profile=true`."""
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
    """Samples per second of one process on one core, and of two with one core each and DDP."""
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
