"""Noise that belongs to a sample, not to a batch.

Every number is a pure function of (seed of the sample, purpose, position), computed by hashing a counter, so a sample
sees the same noise whatever batch, order, process or device it is drawn in. torch's generators cannot give this: they
are sequential, differ between devices, and keep 32 bits of their seed.
"""

import copy
import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64


class NoiseSource:
    """Standard normal noise for a batch of samples, one seed each.

    The noise of steps is the increments of a Brownian motion over time, so steps of any length follow the same path.

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
        self._paths: dict[bool, BrownianPath] = {}

    def start(self) -> Tensor:
        """The noise that sampling starts from, ``(B, *size)``."""
        return self._shaped(standard_normal(self.keys, math.prod(self.size)))

    def between(self, t: Tensor, s: Tensor) -> Tensor:
        """The noise of the step from time ``t`` to time ``s``, both ``()``: ``(B, *size)``.

        Noise of overlapping intervals is correlated as increments of one path are: ``sqrt(t - r) between(t, r)`` is
        ``sqrt(t - s) between(t, s) + sqrt(s - r) between(s, r)``. Steps up in time follow a path of their own.
        """
        up = bool(t < s)
        if up not in self._paths:
            keys = _mix(self.keys + 1 + up)
            self._paths[up] = BrownianPath(keys, math.prod(self.size), torch.promote_types(self.dtype, torch.float32))
        return self._shaped(self._paths[up].increment(float(t), float(s)))

    def branch(self, *numbers: float) -> "NoiseSource":
        """Independent noise for the same samples; other numbers, or another order, give an unrelated branch."""
        other = copy.copy(self)
        for bits in _bits(numbers):
            other.keys = _mix(other.keys + bits)
        other._paths = {}
        return other

    def _shaped(self, values: Tensor) -> Tensor:
        return values.reshape(-1, *self.size).to(self.device, self.dtype)


class BrownianPath:
    """Brownian motion over time in [0, 1] whose value at any time is a pure function of (key, time).

    Levy's construction: halving an interval again and again, the value in its middle is normal around the mean of its
    ends. Where an interval is shorter than ``2^-9`` of its distance from 0 or from 1, whichever is nearer, one bridge
    leads to the time itself, so increments are independent unless several times share such an interval, of which each
    octave towards either end has 512. A thousand steps share none; of several thousand, neighbours are correlated.
    What the newest times rest on is kept, which changes speed alone.

    Args:
        keys: ``(B,)`` of int64.
        count: how many independent motions a key has.
        dtype: of the values.
    """

    def __init__(self, keys: Tensor, count: int, dtype: torch.dtype):
        self.keys = keys
        self.places = _mix(torch.arange(count, dtype=torch.int64) * _GOLDEN)
        self.dtype = dtype
        self._bridges: list[float] = []
        self._normals = torch.empty(0, len(keys), count, dtype=dtype)
        self._values: dict[float, Tensor] = {}

    def increment(self, t: float, s: float) -> Tensor:
        """The motion from ``s`` to ``t`` at unit variance, ``(B, count)``."""
        (low, high), other = bridges(t)[0], bridges(s)[0]
        variance = abs(t - s)
        if (low, high) == other:  # two bridges over one interval, independent of each other
            variance = ((t - s) ** 2 + sum((time - low) * (high - time) for time in (t, s))) / (high - low)
        return torch.sub(self.at(t), self.at(s)).mul_(variance**-0.5)

    def at(self, time: float) -> Tensor:
        """The value at ``time`` in [0, 1], ``(B, count)``."""
        if time not in self._values:
            weights = bridges(time)[1]
            shared = len([1 for one, other in zip(weights, self._bridges, strict=False) if one == other])
            fresh = _bits(list(weights)[shared:])[:, None]
            drawn = quick_normal(self.keys + fresh, self.places).to(self.dtype)
            self._bridges, self._normals = list(weights), torch.cat([self._normals[:shared], drawn])
            value = torch.zeros_like(self._normals[0])
            for weight, normal in zip(weights.values(), self._normals, strict=True):
                value.add_(normal, alpha=weight)
            self._values = dict([*self._values.items(), (time, value)][-4:])
        return self._values[time]


@lru_cache(maxsize=8)
def bridges(time: float) -> tuple[tuple[float, float], dict[float, float]]:
    """The interval of the last bridge on the way to ``time``, and what each bridge's normal counts in the value there.

    A bridge goes by the time in the middle of its interval, the last by ``time`` itself.
    """
    low, high = 0.0, 1.0
    weights = {high: time}
    while low < time < high:
        resolved = high - low <= min(low, 1 - high) * 2.0**-9
        node = time if resolved else (low + high) / 2
        hat = min((time - low) / (node - low), (high - time) / (high - node))
        weights[node] = hat * math.sqrt((node - low) * (high - node) / (high - low))
        if node == time:
            break
        low, high = (node, high) if node < time else (low, node)
    return (low, high), weights


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


def quick_normal(keys: Tensor, places: Tensor) -> Tensor:
    """Standard normal numbers in float32 for each key at each place: ``(*shape,)`` and ``(N,)`` to ``(*shape, N)``.

    Cheaper than `standard_normal`, because a Brownian path draws many a step. The uniform numbers are the upper bits of
    ``a place + b`` with odd a and any b made of the key: as ``place`` is mixed already, and the same for all keys, one
    multiplication does for what takes two. For random a and b any two of them are independent, be they of one key or of
    two (Dietzfelbinger 1996, https://doi.org/10.1007/3-540-60922-9_46). What turns them into normal ones is the inverse
    of the normal distribution function; the largest is 5.4.
    """
    scale, shift = _mix(torch.stack([keys, keys + _GOLDEN])).unsqueeze(-1)
    bits = torch.mul(places, scale | 1).add_(shift)
    uniform = bits.to(torch.float32).mul_((1 - 2.0**-24) * 2.0**-63)  # within (-1, 1) when rounded
    return torch.erfinv(uniform).mul_(math.sqrt(2))


def _bits(numbers: Sequence[float]) -> Tensor:
    """The float64 bits of each number, as int64."""
    return torch.tensor(list(numbers), dtype=torch.float64).view(torch.int64)


def _mix(bits: Tensor) -> Tensor:
    """SplitMix64's finaliser: a bijection of 64-bit integers whose every output bit depends on every input bit."""
    bits = _shift_right(bits, 30).bitwise_xor_(bits).mul_(0xBF58476D1CE4E5B9 - 2**64)
    bits = _shift_right(bits, 27).bitwise_xor_(bits).mul_(0x94D049BB133111EB - 2**64)
    return _shift_right(bits, 31).bitwise_xor_(bits)


def _shift_right(bits: Tensor, places: int) -> Tensor:
    """Logical shift; torch's own repeats the sign bit."""
    return (bits >> places).bitwise_and_((1 << (64 - places)) - 1)
