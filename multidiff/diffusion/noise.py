"""Noise that belongs to a sample, not to a batch.

Every number is a pure function of (seed of the sample, purpose, position), computed by hashing a counter, so a sample
sees the same noise whatever batch, order, process or device it is drawn in. torch's generators cannot give this: they
are sequential, differ between devices, and keep 32 bits of their seed.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64


class NoiseSource:
    """Standard normal noise for a batch of samples, one seed each.

    Args:
        seeds: one integer in [-2^63, 2^63) a sample.
        size: shape of one sample, ``(C, *size)``.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        size: Sequence[int],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ):
        self.keys = _mix(torch.tensor(list(seeds), dtype=torch.int64))
        self.size = tuple(size)
        self.dtype = dtype
        self.device = device

    def start(self) -> Tensor:
        """The noise that sampling starts from, ``(B, *size)``."""
        return self._normal(self.keys)

    def between(self, t: Tensor, s: Tensor) -> Tensor:
        """The noise of the step from time ``t`` to time ``s``, both ``()``: ``(B, *size)``."""
        keys = self.keys
        for time in (t, s):
            keys = _mix(keys + time.to("cpu", torch.float64).view(torch.int64) + _GOLDEN)
        return self._normal(keys)

    def _normal(self, keys: Tensor) -> Tensor:
        return standard_normal(keys, math.prod(self.size)).reshape(-1, *self.size).to(self.device, self.dtype)


def fold(*integers: int) -> int:
    """One seed made of several integers; another integer, or another order, gives an unrelated one."""
    seed = torch.zeros((), dtype=torch.int64)
    for integer in integers:
        seed = _mix(seed + integer + _GOLDEN)
    return int(seed)


def sample_seeds(seed: int, start: int, stop: int) -> list[int]:
    """The seeds of samples ``start`` to ``stop - 1`` of a request with the given ``seed``."""
    return [fold(seed, index) for index in range(start, stop)]


def standard_normal(keys: Tensor, count: int) -> Tensor:
    """``count`` standard normal numbers in float64 for each key: ``(B,)`` of int64 to ``(B, count)``.

    The Box-Muller transform of the uniform numbers that a two-round SplitMix64 hash gives (Steele et al. 2014,
    https://doi.org/10.1145/2660193.2660195).
    """
    half = (count + 1) // 2
    counter = torch.arange(2 * half, dtype=torch.int64) * _GOLDEN
    bits = _mix(_mix(counter + keys[:, None]) + _mix(keys + _GOLDEN)[:, None])
    uniform = (_shift_right(bits, 11).to(torch.float64) + 0.5) * 2.0**-53
    radius, angle = torch.sqrt(-2 * torch.log(uniform[:, :half])), 2 * math.pi * uniform[:, half:]
    return torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)], dim=1)[:, :count]


def _mix(bits: Tensor) -> Tensor:
    """SplitMix64's finaliser: a bijection of 64-bit integers whose every output bit depends on every input bit."""
    bits = (bits ^ _shift_right(bits, 30)) * (0xBF58476D1CE4E5B9 - 2**64)
    bits = (bits ^ _shift_right(bits, 27)) * (0x94D049BB133111EB - 2**64)
    return bits ^ _shift_right(bits, 31)


def _shift_right(bits: Tensor, places: int) -> Tensor:
    """Logical shift; torch's own repeats the sign bit."""
    return (bits >> places) & ((1 << (64 - places)) - 1)
