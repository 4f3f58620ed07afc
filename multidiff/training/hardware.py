"""Hardware properties that determine the speed of training."""

import os
import platform
import shutil
import sys
import time
from pathlib import Path

import torch

SIDE = 512
"""Of the matrices that are multiplied to measure the speed: large enough to fill a core, and done in milliseconds."""


def matrix_speed(dtype: torch.dtype, side: int = SIDE, repeats: int = 5) -> float:
    """Floating-point operations a second of the processor, with torch's threads: the best of ``repeats`` products."""
    one, other = torch.rand(2, side, side).to(dtype)
    seconds = []
    for _ in range(1 + repeats):  # the first wakes the threads
        begun = time.perf_counter()
        one @ other
        seconds.append(time.perf_counter() - begun)
    return 2 * side**3 / min(seconds)


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # another system than Linux
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def compiler() -> str | None:
    """The C++ compiler that torch uses on a CPU; None if there is none."""
    names = (os.environ.get("CXX", "g++"), "c++", "clang++")
    return next((found for found in map(shutil.which, names) if found), None)


SHARED_MEMORY = Path("/dev/shm")


def free_shared_memory() -> int:
    """Bytes that processes can still share through ``/dev/shm``, also by semaphores; unlimited on other systems."""
    if sys.platform != "linux":
        return sys.maxsize
    if not os.access(SHARED_MEMORY, os.W_OK):  # absent or read-only
        return 0
    status = os.statvfs(SHARED_MEMORY)
    return status.f_bavail * status.f_frsize if status.f_blocks else sys.maxsize
