"""Time to compare 400 clouds of 2048 points with 400 others by Chamfer distance, and of one earth mover's distance.

Run it on an idle machine:

    python benchmarks/shape_metrics.py --json shape_metrics.json
"""

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import torch

from modalities.shape.metrics import MATCHED, chamfer, earth_mover


def surfaces(count: int, points: int, seed: int) -> torch.Tensor:
    """Ellipsoids of random axes, ``(count, points, 3)``."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(count, points, 3, generator=generator), dim=-1)
    return directions * (0.3 + 0.7 * torch.rand(count, 1, 3, generator=generator))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clouds", type=int, default=400)
    parser.add_argument("--points", type=int, default=2048)
    parser.add_argument("--matchings", type=int, default=20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    x, y = (surfaces(options.clouds, options.points, seed) for seed in (0, 1))
    chamfer(x[:8], y[:8])  # warm-up
    began = time.perf_counter()
    chamfer(x, y)
    seconds = time.perf_counter() - began
    matchings = []
    for i in range(options.matchings):
        began = time.perf_counter()
        earth_mover(x[i, :MATCHED], y[i, :MATCHED])
        matchings.append(time.perf_counter() - began)
    report = {
        "machine": {"processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads()},
        "torch": torch.__version__,
        "clouds": options.clouds,
        "points": options.points,
        "dtype": "float32",
        "chamfer_seconds": seconds,
        "earth_mover_seconds": statistics.median(matchings),
        "matched_points": MATCHED,
    }
    print(json.dumps(report, indent=2))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
