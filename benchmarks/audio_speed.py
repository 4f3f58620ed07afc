"""The audio U-Net beside audio-diffusion-pytorch's UNetV0, with equal parameter counts, on batches of 16 kHz sound.

Two pairs, in one process and in turn. "drums": `unet1d_small` on the STFT with band energies, as in
`experiment=audio/drums`, beside a UNetV0 of as many parameters on samples, its only input. "samples": `unet1d` on
samples beside UNetV0 with its published widths, strides and attention. Run it on an idle machine:

    python benchmarks/audio_speed.py --rounds 5 --json audio_speed.json
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from audio_diffusion_pytorch import UNetV0
from torch import Tensor, nn

from multidiff.codecs import Codec
from multidiff.configuration import instantiate, load_option

SAMPLES, WARMUP = 16384, 1
PUBLISHED = (32, 32, 64, 64, 128, 128, 256, 256)
NARROW = (32, 32, 64, 64, 128, 128, 128, 128)


def ours(preset: str, channels: int) -> nn.Module:
    return instantiate(nn.Module, load_option("backbone", preset), channels=channels)


def peer(channels: tuple[int, ...], items: tuple[int, ...], attentions: tuple[int, ...], features: int) -> nn.Module:
    return UNetV0(
        dim=1,
        in_channels=1,
        channels=channels,
        factors=(1, *[2] * 7),
        items=items,
        attentions=attentions,
        attention_heads=4,
        attention_features=32,
        modulation_features=features,
    )


def contenders() -> dict[str, tuple[nn.Module, tuple[int, int]]]:
    """Networks, and the shape ``(C, L)`` of their input for about a second of sound."""
    raw = (1, SAMPLES)
    channels, frames = instantiate(Codec, load_option("codec", "stft_bands")).shape(raw)
    return {
        "drums: ours": (ours("unet1d_small", channels), (channels, frames)),
        "drums: UNetV0": (peer(NARROW, (1, 1, 1, 1, 1, 1, 2, 2), (0, 0, 0, 0, 0, 0, 1, 1), 256), raw),
        "samples: ours": (ours("unet1d", 1), raw),
        "samples: UNetV0": (peer(PUBLISHED, (2, 2, 2, 2, 2, 2, 4, 4), (0, 0, 0, 0, 0, 1, 1, 1), 512), raw),
    }


def sampling_step(network: nn.Module, x: Tensor) -> Callable[[], None]:
    t = torch.rand(len(x))

    def step() -> None:
        with torch.no_grad():
            network(x, t)

    return step


def training_step(network: nn.Module, x: Tensor) -> Callable[[], None]:
    t, target = torch.rand(len(x)), torch.randn_like(x)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)

    def step() -> None:
        (network(x, t) - target).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def measure(batch: int, rounds: int, pairs: list[str]) -> dict[str, Any]:
    chosen = {name: value for name, value in contenders().items() if name.partition(":")[0] in pairs}
    report: dict[str, Any] = {
        "machine": f"{platform.processor()}, {torch.backends.cpu.get_cpu_capability()}",
        "versions": {name: version(name) for name in ("torch", "audio-diffusion-pytorch")},
        "threads": torch.get_num_threads(),
        "dtype": "float32",
        "batch": batch,
        "parameters": {name: sum(p.numel() for p in net.parameters()) for name, (net, _) in chosen.items()},
        "median_seconds": {},
    }
    for kind, make in (("sampling", sampling_step), ("training", training_step)):
        steps = {name: make(network, torch.randn(batch, *shape)) for name, (network, shape) in chosen.items()}
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(WARMUP + rounds):
            for name, step in steps.items():
                began = time.perf_counter()
                step()
                seconds[name].append(time.perf_counter() - began)
        report["median_seconds"][kind] = {name: statistics.median(s[WARMUP:]) for name, s in seconds.items()}
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pairs", nargs="+", choices=("drums", "samples"), default=["drums", "samples"])
    parser.add_argument("--json", type=Path, help="where to write all figures")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    report = measure(options.batch, options.rounds, options.pairs)
    for name in ("machine", "versions", "threads", "dtype", "batch"):
        print(f"{name:10} {report[name]}")
    for pair in options.pairs:
        mine, theirs = f"{pair}: ours", f"{pair}: UNetV0"
        sizes = report["parameters"]
        print(f"{pair}: {sizes[mine] / 1e6:.2f} M parameters, UNetV0 {sizes[theirs] / 1e6:.2f} M")
        for kind, medians in report["median_seconds"].items():
            ratio = medians[mine] / medians[theirs]
            print(f"  a {kind} step: {medians[mine]:.3f} s, UNetV0 {medians[theirs]:.3f} s, ratio {ratio:.2f}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
