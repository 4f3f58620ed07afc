"""The schedule of a model that was trained at discrete timesteps, in continuous time."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from multidiff.diffusion.schedules import Schedule

HALVINGS = 52
"""Bisections of a step, down to the precision of float64."""


class Betas(Schedule):
    """A variance-preserving schedule given by the variance that each of N timesteps adds, as in DDPM.

    ``alpha((k + 1) / N)^2 = prod_{j <= k} (1 - beta_j)`` exactly, for the timesteps k = 0 to N - 1. In between,
    ``1 - alpha`` is a monotone cubic (Fritsch and Butland 1984, https://doi.org/10.1137/0905021), so that the schedule
    is smooth and can be inverted. All of it is computed in float64. Ho et al. (2020), eq. 4,
    https://arxiv.org/abs/2006.11239.

    Args:
        betas: between 0 and 1, at least two.
        zero_terminal_snr: rescale alpha to 0 at the last timestep, and keep that of the first: Lin et al. (2023),
            algorithm 1, https://arxiv.org/abs/2305.08891.

    Attributes:
        count: N.
        betas: before they are rescaled.
        zero_terminal_snr: whether they are.
    """

    def __init__(self, betas: Sequence[float], zero_terminal_snr: bool = False):
        values = torch.tensor(list(betas), dtype=torch.float64)
        if len(values) < 2 or not ((values > 0) & (values < 1)).all():
            raise ValueError("betas must be at least two numbers between 0 and 1")
        self.count, self.betas, self.zero_terminal_snr = len(values), values.tolist(), zero_terminal_snr
        self.earliest = 1 / self.count
        missing = -torch.expm1(torch.log1p(-values).cumsum(0) / 2)  # 1 - alpha
        if zero_terminal_snr:
            first, last = 1 - missing[0], 1 - missing[-1]
            missing = 1 - (1 - missing - last) * first / (first - last)
            missing[-1] = 1.0
        self._knots = torch.cat([missing.new_zeros(1), missing])
        self._cubics = _monotone_cubics(self._knots)

    def rescaled(self) -> "Betas":
        """The same betas with zero terminal SNR."""
        return Betas(self.betas, zero_terminal_snr=True)

    def alpha(self, t: Tensor) -> Tensor:
        return (1 - self._missing(t)).to(t.dtype)

    def sigma(self, t: Tensor) -> Tensor:
        missing = self._missing(t)
        return torch.sqrt(missing * (2 - missing)).to(t.dtype)

    def log_snr(self, t: Tensor) -> Tensor:
        missing = self._missing(t)
        return (torch.log1p(-missing) - torch.log(missing * (2 - missing)) / 2).to(t.dtype)

    def time(self, log_snr: Tensor) -> Tensor:
        double = log_snr.to(torch.float64)
        missing = torch.sigmoid(-2 * double) / (1 + torch.sqrt(torch.sigmoid(2 * double)))
        step = (torch.searchsorted(self._knots.to(missing.device), missing.contiguous()) - 1).clamp(0, self.count - 1)
        low, high = torch.zeros_like(missing), torch.ones_like(missing)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            above = self._cubic(step, middle) < missing
            low, high = torch.where(above, middle, low), torch.where(above, high, middle)
        return ((step + (low + high) / 2) / self.count).to(log_snr.dtype)

    def timestep(self, t: Tensor) -> Tensor:
        """The timestep k that a network was trained with at time ``t``, in float64; fractional between timesteps.

        Below the first timestep it stays 0, since no network was trained there.
        """
        return (t.to(torch.float64) * self.count - 1).clamp(min=0)

    def _missing(self, t: Tensor) -> Tensor:
        """``1 - alpha(t)``."""
        place = t.to(torch.float64) * self.count
        step = place.floor().clamp(0, self.count).long()
        return self._cubic(step, place - step)

    def _cubic(self, step: Tensor, part: Tensor) -> Tensor:
        c0, c1, c2, c3 = self._cubics.to(part.device)[:, step].unbind()
        return c0 + part * (c1 + part * (c2 + part * c3))


class LinearBetas(Betas):
    """Linear betas, those of DDPM: Ho et al. (2020), section 4, https://arxiv.org/abs/2006.11239.

    Args:
        start: first beta.
        end: last beta.
        count: N.
        zero_terminal_snr: as for `Betas`.
    """

    def __init__(self, start: float = 1e-4, end: float = 0.02, count: int = 1000, zero_terminal_snr: bool = False):
        super().__init__(_line(start, end, count).tolist(), zero_terminal_snr)


class ScaledLinearBetas(Betas):
    """Betas whose square root is linear, those of latent diffusion: Rombach et al. (2022), table 12.

    https://arxiv.org/abs/2112.10752

    Args:
        start: first beta.
        end: last beta.
        count: N.
        zero_terminal_snr: as for `Betas`.
    """

    def __init__(self, start: float = 8.5e-4, end: float = 0.012, count: int = 1000, zero_terminal_snr: bool = False):
        roots = _line(math.sqrt(max(start, 0.0)), math.sqrt(max(end, 0.0)), count)
        super().__init__((roots**2).tolist(), zero_terminal_snr)


class CosineBetas(Betas):
    """Betas whose signal power follows a squared cosine, each at most 0.999.

    Nichol and Dhariwal (2021), eq. 17, https://arxiv.org/abs/2102.09672.

    Args:
        count: N.
        zero_terminal_snr: as for `Betas`.
    """

    def __init__(self, count: int = 1000, zero_terminal_snr: bool = False):
        def power(t: float) -> float:
            return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

        betas = [min(1 - power((k + 1) / count) / power(k / count), 0.999) for k in range(count)]
        super().__init__(betas, zero_terminal_snr)


def _line(start: float, end: float, count: int) -> Tensor:
    return torch.linspace(start, end, max(count, 0), dtype=torch.float64)


def _monotone_cubics(knots: Tensor) -> Tensor:
    """The coefficients of each step's cubic in Hermite form, ``(4, N + 1)``; the last step is constant."""
    rise = knots.diff()
    inner = 2 * rise[:-1] * rise[1:] / (rise[:-1] + rise[1:])
    first = torch.minimum(torch.maximum((3 * rise[0] - inner[0]) / 2, rise[0] * 0), 3 * rise[0])
    last = torch.minimum(torch.maximum((3 * rise[-1] - inner[-1]) / 2, rise[-1] * 0), 3 * rise[-1])
    slope = torch.cat([first[None], inner, last[None]])
    before, after = slope[:-1], slope[1:]
    cubics = torch.stack([knots[:-1], before, 3 * rise - 2 * before - after, before + after - 2 * rise])
    end = torch.stack([knots[-1], *knots.new_zeros(3)])
    return torch.cat([cubics, end[:, None]], dim=1)
