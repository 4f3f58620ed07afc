"""Reproducible noise for each sample, independent of batching.

Every value is a pure function of (seed of the sample, purpose, position), computed with a counter-based hash. A sample
therefore gets the same noise in any batch, order, process or device. torch's generators do not allow this: they are
sequential, differ between devices, and keep 32 bits of their seed.
"""

import copy
import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64


class NoiseSource:
    """Standard normal noise for a batch of samples, with one seed per sample.

    The noise of the steps is the increments of a Brownian motion over time, so that any number of steps follows the
    same path.

    Args:
        seeds: one integer in [-2^63, 2^63) per sample.
        size: shape of one sample, ``(C, *size)``.
        dtype: of the noise.
        device: of the noise.
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
        """The initial noise of a sampler, ``(B, *size)``."""
        return self._shaped(standard_normal(self.keys, math.prod(self.size)))

    def between(self, t: Tensor, s: Tensor) -> Tensor:
        """The noise of the step from time ``t`` to time ``s``, both ``()``: ``(B, *size)``.

        Overlapping intervals have correlated noise, as increments of a path: ``sqrt(t - r) between(t, r)`` is
        ``sqrt(t - s) between(t, s) + sqrt(s - r) between(s, r)``. Steps forward in time (``t < s``) use a separate
        path.
        """
        up = bool(t < s)
        if up not in self._paths:
            keys = _mix(self.keys + 1 + up)
            self._paths[up] = BrownianPath(keys, math.prod(self.size), torch.promote_types(self.dtype, torch.float32))
        return self._shaped(self._paths[up].increment(float(t), float(s)))

    def branch(self, *numbers: float) -> "NoiseSource":
        """Independent noise for the same samples. Other numbers, or another order, give another branch."""
        other = copy.copy(self)
        for bits in _bits(numbers):
            other.keys = _mix(other.keys + bits)
        other._paths = {}
        return other

    def _shaped(self, values: Tensor) -> Tensor:
        return values.reshape(-1, *self.size).to(self.device, self.dtype)


class BrownianPath:
    """Brownian motion over time in [0, 1] whose value at any time is a pure function of (key, time).

    Levy's construction: intervals are halved recursively, and the value at a midpoint is normal around the mean of the
    two ends. Where an interval is shorter than ``2^-9`` of its distance to the nearer of 0 and 1, a single bridge leads
    to the time itself. Increments are therefore independent unless several times fall into the same such interval; each
    octave towards either end has 512 of them. A thousand steps share none. With several thousand steps, neighbouring
    increments are correlated. The normals of the latest times are cached, which affects speed only.

    Args:
        keys: int64, ``(B,)``.
        count: number of independent motions per key.
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
        if (low, high) == other:  # two independent bridges over one interval
            variance = ((t - s) ** 2 + sum((time - low) * (high - time) for time in (t, s))) / (high - low)
        return torch.sub(self.at(t), self.at(s)).mul_(variance**-0.5)

    def at(self, time: float) -> Tensor:
        """The value at ``time`` in [0, 1], ``(B, count)``."""
        if time not in self._values:
            weights = bridges(time)[1]
            shared = len([1 for one, other in zip(weights, self._bridges, strict=False) if one == other])
            fresh = _bits(list(weights)[shared:])[:, None]
            normals = fast_normal(self.keys + fresh, self.places).to(self.dtype)
            self._bridges, self._normals = list(weights), torch.cat([self._normals[:shared], normals])
            value = torch.zeros_like(self._normals[0])
            for weight, normal in zip(weights.values(), self._normals, strict=True):
                value.add_(normal, alpha=weight)
            self._values = dict([*self._values.items(), (time, value)][-4:])
        return self._values[time]


@lru_cache(maxsize=8)
def bridges(time: float) -> tuple[tuple[float, float], dict[float, float]]:
    """The interval of the last bridge on the way to ``time``, and the weight of each bridge's normal in the value.

    The weights are keyed by the time of the bridge: the midpoint of its interval, and ``time`` itself for the last one.
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
    """Hash several integers into one seed; different integers, or a different order, give an unrelated one."""
    seed = torch.zeros((), dtype=torch.int64)
    for integer in integers:
        seed = _mix(seed + integer + _GOLDEN)
    return int(seed)


def sample_seeds(seed: int, start: int, stop: int) -> list[int]:
    """The seeds of samples ``start`` to ``stop - 1`` for a global ``seed``."""
    return [fold(seed, index) for index in range(start, stop)]


def standard_normal(keys: Tensor, count: int) -> Tensor:
    """``count`` standard normal values in float64 for each key: int64 ``(B,)`` to ``(B, count)``.

    The Box-Muller transform of uniform values from a two-round SplitMix64 hash (Steele et al. 2014,
    https://doi.org/10.1145/2660193.2660195).
    """
    half = (count + 1) // 2
    counter = torch.arange(2 * half, dtype=torch.int64) * _GOLDEN
    bits = _mix(_mix(counter + keys[:, None]) + _mix(keys + _GOLDEN)[:, None])
    uniform = (_shift_right(bits, 11).to(torch.float64) + 0.5) * 2.0**-53
    radius, angle = torch.sqrt(-2 * torch.log(uniform[:, :half])), 2 * math.pi * uniform[:, half:]
    return torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)], dim=1)[:, :count]


def fast_normal(keys: Tensor, places: Tensor) -> Tensor:
    """Standard normal values in float32 for each key at each place: ``(*shape,)`` and ``(N,)`` to ``(*shape, N)``.

    Faster than `standard_normal`, since a Brownian path needs many normals per step. The uniform values are the upper
    bits of ``a place + b``, where the odd a and the b are hashes of the key. The places are hashed in advance and
    shared by all keys, so one multiplication suffices instead of two. For random a and b, any two values are
    independent, for the same key or for different ones (Dietzfelbinger 1996, https://doi.org/10.1007/3-540-60922-9_46).
    The inverse normal distribution function turns them into normal values, of magnitude 5.4 at most.
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
    """Logical right shift; torch's own is arithmetic and repeats the sign bit."""
    return (bits >> places).bitwise_and_((1 << (64 - places)) - 1)
