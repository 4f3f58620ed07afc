"""Time to decode a folder of small pictures and one of sounds: in this process, as before, and in worker processes.

python benchmarks/decoding.py --pictures 20000 --sounds 2000 --json decoding.json
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from PIL import Image

from modalities.audio.modality import AudioModality
from modalities.audio.preparation import AudioPreparation
from modalities.image.modality import ImageModality
from modalities.image.preparation import ImagePreparation
from multidiff.data.decoding import decode_all
from multidiff.data.machine import usable_cores
from multidiff.data.store import write_store
from multidiff.modality import Preparation


def pictures(root: Path, count: int) -> None:
    """PNGs of 32 x 32 pixels."""
    random = np.random.default_rng(0)
    for number in range(count):
        Image.fromarray(random.integers(0, 256, (32, 32, 3), np.uint8)).save(root / f"{number:05}.png")


def sounds(root: Path, count: int) -> None:
    """WAVs of one second at 44.1 kHz in stereo."""
    random = np.random.default_rng(0)
    for number in range(count):
        soundfile.write(root / f"{number:05}.wav", random.normal(0, 0.1, (44100, 2)), 44100)


def seconds(preparation: Preparation, root: Path, rounds: int) -> dict[str, float]:
    """Median times of ``rounds`` turns in which both ways write a store."""
    paths = sorted(root.iterdir())
    ways: dict[str, Callable[[], Iterable[Any]]] = {
        "in this process": lambda: map(preparation.prepare, paths),
        "in workers": lambda: decode_all(preparation, paths),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                write_store(Path(folder), way(), paths)
                times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=20000)
    parser.add_argument("--sounds", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "cores": usable_cores(),
    }
    kinds = {
        "pictures": (pictures, options.pictures, ImagePreparation(ImageModality(channels=3), size=16)),
        "sounds": (sounds, options.sounds, AudioPreparation(AudioModality(sample_rate=16000), seconds=1.0)),
    }
    for kind, (make, count, preparation) in kinds.items():
        with tempfile.TemporaryDirectory() as root:
            make(Path(root), count)
            found[kind] = {"count": count, **seconds(preparation, Path(root), options.rounds)}
        print(kind, *(f"{name} {value:.3g}" for name, value in found[kind].items()), sep="; ")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
