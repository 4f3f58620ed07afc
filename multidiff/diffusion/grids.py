"""Time grids: from a number of steps to the times that a sampler visits.

A grid is a float64 tensor ``(steps + 1,)``, strictly decreasing, whose last entry is exactly 0.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from multidiff.diffusion.schedules import Schedule

LOWEST, HIGHEST = 0.002, 80.0
"""Noise levels of the sampler of EDM, Karras et al. (2022), table 1, https://arxiv.org/abs/2206.00364."""


class Grid(ABC):
    """A rule that places a given number of steps on a schedule."""

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        """The ``steps + 1`` times of a grid with ``steps`` steps.

        Raises:
            ValueError: ``steps`` is below 1, or more than the rule can place.
        """
        if steps < 1:
            raise ValueError(f"sampling needs at least 1 step, got {steps}")
        times = torch.cat([self.times(schedule, steps), torch.zeros(1, dtype=torch.float64)])
        check_grid(times)
        return times

    def trained_at(self, log_snr_range: tuple[float, float]) -> "Grid":
        """This grid for a network that was trained at log SNRs of this range, lowest and highest; here, itself."""
        return self

    @abstractmethod
    def times(self, schedule: Schedule, steps: int) -> Tensor:
        """The ``steps`` times above 0, decreasing, in float64."""


def check_grid(times: Tensor) -> None:
    """Raise a ValueError unless ``times`` decrease strictly within [0, 1] and end at exactly 0."""
    if times.ndim != 1 or len(times) < 2 or times[-1] != 0 or times[0] > 1 or not (times.diff() < 0).all():
        raise ValueError(f"a grid must decrease strictly from at most 1 to exactly 0, got {times.tolist()}")


class Uniform(Grid):
    """Equal time steps from 1 to 0."""

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        return torch.arange(steps, 0, -1, dtype=torch.float64) / steps


@dataclass(frozen=True)
class Trailing(Grid):
    """The "trailing" timesteps of a model with ``train_steps`` discrete times: the last of each of ``steps`` strides.

    Lin et al. (2023), table 2, https://arxiv.org/abs/2305.08891; discrete step k stands for time ``k / train_steps``.
    """

    train_steps: int = 1000

    def __post_init__(self) -> None:
        _check_train_steps(self.train_steps)

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        _check_places(steps, self.train_steps)
        strides = torch.arange(steps, 0, -1, dtype=torch.float64) * (self.train_steps / steps)
        return torch.round(strides) / self.train_steps


@dataclass(frozen=True)
class Leading(Grid):
    """The "leading" timesteps of a model with ``train_steps`` discrete times: the first of each stride plus ``offset``.

    Lin et al. (2023), table 2, https://arxiv.org/abs/2305.08891; timestep k, from 0, stands for time
    ``(k + 1) / train_steps``. The noisiest times are left out, which the paper calls a flaw; Stable Diffusion's
    published samplers use them.

    Args:
        train_steps: N.
        offset: added to each timestep; Stable Diffusion's is 1.
        spare: strides beyond the number of steps, whose timesteps at the clean end are left out: 0 for DDIM and Euler,
            1 for DPM-Solver and UniPC.
        whole: strides are rounded down to whole timesteps, as published; false: exact fractions.
    """

    train_steps: int = 1000
    offset: int = 1
    spare: int = 0
    whole: bool = True

    def __post_init__(self) -> None:
        _check_train_steps(self.train_steps)
        if self.offset < 0 or self.spare < 0:
            raise ValueError(f"offset and spare must be at least 0, got {self.offset} and {self.spare}")

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        _check_places(steps + self.spare, self.train_steps)
        strides = steps + self.spare
        stride = self.train_steps // strides if self.whole else self.train_steps / strides
        places = torch.arange(strides - 1, self.spare - 1, -1, dtype=torch.float64) * stride
        return (places + self.offset + 1) / self.train_steps


@dataclass(frozen=True)
class Linspaced(Grid):
    """The "linspace" timesteps of a model with ``train_steps`` discrete times: evenly from the last to the first.

    Lin et al. (2023), table 2, https://arxiv.org/abs/2305.08891; timestep k, from 0, stands for time
    ``(k + 1) / train_steps``.

    Args:
        train_steps: N.
        spare: as for `Leading`.
        whole: timesteps are rounded to integers, as published for DDIM, DPM-Solver and UniPC; false: exact fractions.
        lowest: timestep of the cleanest time; may be a fraction.
    """

    train_steps: int = 1000
    spare: int = 0
    whole: bool = True
    lowest: float = 0.0

    def __post_init__(self) -> None:
        _check_train_steps(self.train_steps)
        if self.spare < 0:
            raise ValueError(f"spare must be at least 0, got {self.spare}")
        if not 0 <= self.lowest < self.train_steps - 1:
            raise ValueError(f"lowest must be at least 0, and below the last timestep, got {self.lowest}")

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        _check_places(steps + self.spare, self.train_steps)
        places = torch.linspace(self.train_steps - 1, self.lowest, steps + self.spare, dtype=torch.float64)[:steps]
        return ((torch.round(places) if self.whole else places) + 1) / self.train_steps


@dataclass(frozen=True)
class NoiseLevels(Grid):
    """Base class of grids from one noise level ``sigma / alpha`` to another.

    Levels beyond the range of the schedule are clipped.

    Args:
        sigma_min: lowest level; by default that of EDM, 0.002, or that of training, if that is higher.
        sigma_max: highest level; by default that of EDM, 80, or that of training, if that is lower.

    Raises:
        ValueError: not ``0 < sigma_min < sigma_max``.
    """

    sigma_min: float | None = None
    sigma_max: float | None = None

    def __post_init__(self) -> None:
        low, high = self._levels()
        if not 0 < low < high < math.inf:
            raise ValueError(f"need 0 < sigma_min < sigma_max, got {low:g} and {high:g}")

    def trained_at(self, log_snr_range: tuple[float, float]) -> "NoiseLevels":
        low, high = (math.exp(-end) for end in reversed(log_snr_range))
        return replace(
            self,
            sigma_min=max(LOWEST, low) if self.sigma_min is None else self.sigma_min,
            sigma_max=min(HIGHEST, high) if self.sigma_max is None else self.sigma_max,
        )

    def ends(self, schedule: Schedule) -> tuple[float, float]:
        """The highest and the lowest level within the range of ``schedule``."""
        low, high = self._levels()
        ends = torch.tensor([1.0, schedule.earliest], dtype=torch.float64)
        highest, lowest = torch.exp(-schedule.log_snr(ends)).tolist()
        return min(high, highest), max(low, lowest)

    def _levels(self) -> tuple[float, float]:
        return (
            LOWEST if self.sigma_min is None else self.sigma_min,
            HIGHEST if self.sigma_max is None else self.sigma_max,
        )


@dataclass(frozen=True)
class KarrasRho(NoiseLevels):
    """Noise levels equally spaced in their ``rho``-th root.

    Karras et al. (2022), eq. 5, https://arxiv.org/abs/2206.00364. See `NoiseLevels`.
    """

    rho: float = 7.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.rho < math.inf:
            raise ValueError(f"rho must be above 0, got {self.rho}")

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        high, low = self.ends(schedule)
        roots = torch.linspace(high ** (1 / self.rho), low ** (1 / self.rho), steps, dtype=torch.float64)
        return _times(schedule, -self.rho * torch.log(roots))


@dataclass(frozen=True)
class UniformLogSNR(NoiseLevels):
    """Noise levels equally spaced in their logarithm.

    Lu et al. (2022), section 3.4, https://arxiv.org/abs/2206.00927. See `NoiseLevels`.
    """

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        high, low = self.ends(schedule)
        return _times(schedule, -torch.linspace(math.log(high), math.log(low), steps, dtype=torch.float64))


@dataclass(frozen=True)
class Interpolated(Grid):
    """Given noise levels; for another number of steps they are interpolated linearly in log SNR over their index.

    `multidiff grid` computes such levels for a model. Levels beyond the range of the schedule are clipped.

    Args:
        log_snr: noise level of each step, increasing.
    """

    log_snr: Sequence[float]

    def __post_init__(self) -> None:
        levels = list(self.log_snr)
        numbers = all(isinstance(level, int | float) and math.isfinite(level) for level in levels)
        if not levels or not numbers or not all(low < high for low, high in pairwise(levels)):
            raise ValueError(f"log_snr must be a list of increasing numbers, got {levels}")

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        levels = torch.tensor([*self.log_snr, self.log_snr[-1]], dtype=torch.float64)
        place = torch.linspace(0, len(self.log_snr) - 1, steps, dtype=torch.float64)
        before = place.long()
        lowest = schedule.log_snr(torch.ones((), dtype=torch.float64))
        return _times(schedule, torch.lerp(levels[before], levels[before + 1], place - before).clamp(min=lowest))


def _check_train_steps(count: int) -> None:
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"train_steps must be an integer of at least 1, got {count!r}")


def _check_places(steps: int, train_steps: int) -> None:
    if steps > train_steps:
        raise ValueError(f"steps must be at most train_steps, {train_steps}, got {steps}")


def _times(schedule: Schedule, log_snr: Tensor) -> Tensor:
    return schedule.time(log_snr).clamp(max=1)  # rounding may pass 1 by an ulp
