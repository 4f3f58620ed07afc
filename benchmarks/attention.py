"""Explicit attention in bfloat16 compared with torch's fused kernel on a CPU: forward and backward pass, by length.

`multidiff.nn.attention.EXPLICIT_LIMIT` is chosen from these figures. On an idle machine:

    python benchmarks/attention.py
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from multidiff.nn import attention

SHAPES = [(16, 4, 32, 32), (16, 4, 64, 64), (16, 4, 128, 64), (16, 4, 256, 32), (8, 4, 512, 64), (4, 4, 1024, 32)]
"""Batch size, heads, positions and head size."""


def seconds(way: Callable[[Tensor, Tensor, Tensor], Tensor], parts: list[Tensor]) -> float:
    begun = time.perf_counter()
    way(*parts).sum().backward()
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    attention.EXPLICIT_LIMIT = max(positions**2 for _, _, positions, _ in SHAPES)
    for shape in SHAPES:
        parts = [torch.randn(shape, dtype=torch.bfloat16, requires_grad=True) for _ in range(3)]
        ways = (F.scaled_dot_product_attention, attention.dot_product_attention)
        taken = [[seconds(way, parts) for way in ways] for _ in range(1 + options.rounds)][1:]  # the first is a warm-up
        kernel, own = (statistics.median(column) for column in zip(*taken, strict=True))
        print(f"{shape}: fused {1000 * kernel:.2f} ms, explicit {1000 * own:.2f} ms, ratio {kernel / own:.2f}")


if __name__ == "__main__":
    main()
