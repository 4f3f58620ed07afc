"""Where the noise of the samples of a plan comes from."""

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from numbers import Real
from typing import Any

from multidiff.diffusion.editing import MixedNoise
from multidiff.diffusion.noise import NoiseSource, sample_seeds
from multidiff.errors import InputError

MakeNoise = Callable[[Sequence[int]], NoiseSource]
"""Noise for a batch, from one seed a sample."""


class Seeds(ABC):
    """The noise of sample i of a plan; a dataclass of plain values, which are what a record holds."""

    @abstractmethod
    def noise(self, rows: range, make: MakeNoise) -> NoiseSource:
        """The noise of the samples ``rows``."""


@dataclass(frozen=True)
class Seeded(Seeds):
    """Sample i depends on (``seed``, i) alone.

    Raises:
        InputError: the seed is not an integer of 64 bits.
    """

    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", checked_seed(self.seed))

    def noise(self, rows: range, make: MakeNoise) -> NoiseSource:
        return make(sample_seeds(self.seed, rows.start, rows.stop))


@dataclass(frozen=True)
class Interpolated(Seeds):
    """``n`` samples on the way from the first sample of seed ``first`` to the first of ``second``.

    Raises:
        InputError: there are fewer than 2, or the seeds are equal.
    """

    first: int
    second: int
    n: int

    def __post_init__(self) -> None:
        for name in ("first", "second"):
            object.__setattr__(self, name, checked_seed(getattr(self, name)))
        if self.n < 2 or self.first == self.second:
            raise InputError(
                f"interpolation takes two different seeds and at least 2 samples, got {self.first}, {self.second} and "
                f"{self.n}"
            )

    def noise(self, rows: range, make: MakeNoise) -> NoiseSource:
        if rows.stop > self.n:
            raise InputError(f"this interpolation has {self.n} samples, and sample {rows.stop - 1} was requested")
        a, b = (make(sample_seeds(seed, 0, 1) * len(rows)) for seed in (self.first, self.second))
        return MixedNoise(a, b, [i / (self.n - 1) for i in rows])


@dataclass(frozen=True)
class Varied(Seeds):
    """The noise of the first sample of ``seed`` mixed with that of the samples after it.

    Args:
        seed: as for `Seeded`.
        amount: from 0, the first sample itself, to 1, the others.

    Raises:
        InputError: the amount is outside of that range.
    """

    seed: int
    amount: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", checked_seed(self.seed))
        if not isinstance(self.amount, Real) or not 0 <= self.amount <= 1:
            raise InputError(f"the amount of variation is from 0 to 1, got {self.amount!r}")

    def noise(self, rows: range, make: MakeNoise) -> NoiseSource:
        base = sample_seeds(self.seed, 0, 1) * len(rows)
        others = sample_seeds(self.seed, rows.start + 1, rows.stop + 1)
        return MixedNoise(make(base), make(others), [self.amount] * len(rows))


@dataclass(frozen=True)
class Versions(Seeds):
    """Groups of ``n`` samples with the same noise, that of the first ``n`` samples of ``seed``.

    Raises:
        InputError: there is no sample in a group, or the seed is not an integer of 64 bits.
    """

    seed: int
    n: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", checked_seed(self.seed))
        if self.n < 1:
            raise InputError(f"the number of versions must be at least 1, got {self.n}")

    def noise(self, rows: range, make: MakeNoise) -> NoiseSource:
        places = [row % self.n for row in rows]
        return make([seed for place in places for seed in sample_seeds(self.seed, place, place + 1)])


KINDS: Mapping[str, type[Seeds]] = {
    "seeded": Seeded,
    "interpolated": Interpolated,
    "varied": Varied,
    "versions": Versions,
}
"""Kinds of seeds by their name in a record."""


def seeds_record(seeds: Seeds) -> dict[str, Any]:
    """``seeds`` as plain values, for JSON."""
    (name,) = (name for name, kind in KINDS.items() if type(seeds) is kind)
    return {"kind": name, **vars(seeds)}


def seeds_from(record: Mapping[str, Any]) -> Seeds:
    """The inverse of `seeds_record`.

    Raises:
        InputError: the record is not one of seeds.
    """
    try:
        settings = dict(record)
        return KINDS[settings.pop("kind")](**settings)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"not a record of seeds: {record!r}") from error


def checked_seed(seed: Any) -> int:
    """``seed`` as a signed integer of 64 bits; 2**63 to 2**64 - 1, which other programs use, are the negative ones.

    Raises:
        InputError: it is not an integer, or has more than 64 bits.
    """
    with suppress(TypeError):
        integer = operator.index(seed)
        if -(2**63) <= integer < 2**64:
            return integer - 2**64 if integer >= 2**63 else integer
    raise InputError(f"a seed is an integer of 64 bits, from {-(2**63)} to {2**64 - 1}, not {seed!r}")
