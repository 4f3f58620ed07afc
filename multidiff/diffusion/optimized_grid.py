"""Grids fitted to a model: the noise levels that minimise the sum of the solver's local errors."""

import torch
from torch import Tensor

from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import Denoiser, Wrapper
from multidiff.diffusion.grids import Interpolated, UniformLogSNR
from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.samplers import DPMSolverMultistep, sample
from multidiff.diffusion.samplers.exponential import exponential_weights
from multidiff.diffusion.schedules import Schedule

CANDIDATES = 64
"""Number of candidate noise levels, equally spaced in log SNR."""


def optimized_grid(
    denoiser: Denoiser, noise: NoiseSource, steps: int, cond: Conditioning | None = None
) -> Interpolated:
    """The grid of ``steps`` steps with the smallest squared local errors of second-order multistep DPM-Solver++.

    One sampling run on a fine grid gives x and the x0 estimate at every candidate level. They determine, without
    further evaluations, the error of each possible step ``i -> j`` whose previous estimate is at k, relative to the
    fine solution: ``|y_j - (r_j / r_i) y_i - w_i x0_i - w_k x0_k|^2`` in ``y = x / alpha`` and ``r = sigma / alpha``,
    averaged over samples. A fraction ``c^2 / (c^2 + r_j^2)`` of it remains at the end, where c is the standard
    deviation of the data; this is exact for a Gaussian. Errors of different steps are assumed to be uncorrelated. The
    best grid is then a shortest path, found by dynamic programming over the last two levels. Chen et al. (2024),
    https://arxiv.org/abs/2405.11326, use the same approach with Euler's step and the norm.

    Args:
        denoiser: the denoiser to sample from, including its guidance.
        noise: noise of the samples that the errors are measured on; a few samples are enough.
        steps: number of steps, from 1 to `CANDIDATES`.
        cond: conditions of those samples.

    Raises:
        ValueError: ``steps`` is out of range.
    """
    check_steps(steps)
    runs = FineRuns(denoiser.schedule, denoiser.log_snr_range)
    runs.add(denoiser, noise, cond)
    return runs.grid(steps)


def check_steps(steps: int) -> None:
    """Refuse a number of steps that no grid can be fitted for.

    Raises:
        ValueError: it is out of range.
    """
    if not 1 <= steps <= CANDIDATES:
        raise ValueError(f"a fitted grid has 1 to {CANDIDATES} steps, got {steps}")


class FineRuns:
    """Sampling runs on a fine grid, batch by batch, to which grids of any number of steps are fitted.

    Args:
        schedule: of the denoisers.
        log_snr_range: lowest and highest log SNR that they were trained at.
    """

    def __init__(self, schedule: Schedule, log_snr_range: tuple[float, float]):
        self.schedule = schedule
        self.times = UniformLogSNR().trained_at(log_snr_range)(schedule, CANDIDATES)
        self.products = torch.zeros((), dtype=torch.float64)
        self.results: list[Tensor] = []

    def add(self, denoiser: Denoiser, noise: NoiseSource, cond: Conditioning | None = None) -> None:
        """Sample one batch; arguments as for `optimized_grid`."""
        recorder = Recorder(denoiser)
        x0 = sample(recorder, noise, DPMSolverMultistep(self.schedule, 3), self.times, cond)
        states = torch.stack(recorder.states) / self.schedule.alpha(self.times[:-1])[:, None]
        self.results.append(x0.flatten().to(states))
        vectors = torch.cat([states, torch.stack(recorder.estimates), self.results[-1][None]])
        self.products = self.products + vectors @ vectors.T

    def grid(self, steps: int) -> Interpolated:
        """The grid of ``steps`` steps with the smallest errors over all samples, as `optimized_grid`.

        Raises:
            ValueError: ``steps`` is out of range.
        """
        check_steps(steps)
        log_snr, x0 = self.schedule.log_snr(self.times[:-1]), torch.cat(self.results)
        first, later, last = step_errors(self.products / len(x0), log_snr)
        lasting = 1 / (1 + torch.exp(-2 * log_snr) / x0.to(log_snr).var())
        return Interpolated(
            [round(log_snr[i].item(), 3) for i in shortest_path(first * lasting, later * lasting, last, steps)]
        )


class Recorder(Wrapper):
    """A denoiser that records its inputs and its estimates."""

    def __init__(self, denoiser: Denoiser):
        super().__init__(denoiser)
        self.states: list[Tensor] = []
        self.estimates: list[Tensor] = []

    def forward(self, x_t: Tensor, t: Tensor, cond: Conditioning | None = None) -> Tensor:
        x0 = self.denoiser(x_t, t, cond)
        self.states.append(x_t.flatten().to("cpu", torch.float64))
        self.estimates.append(x0.flatten().to("cpu", torch.float64))
        return x0


def step_errors(gram: Tensor, log_snr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Squared errors of the first step, ``(N,)``, of the later steps, ``(N, N, N)``, and of the last step, ``(N,)``.

    The first step is ``0 -> j``. Later steps ``i -> j`` that follow a step from k are indexed ``(k, i, j)``. Errors are
    infinite where a step does not lower the noise level.

    Args:
        gram: mean products of the N states, the N estimates and the result, ``(2 N + 1, 2 N + 1)``.
        log_snr: log SNR of the candidate levels, ``(N,)``.
    """
    n = len(log_snr)
    levels = torch.arange(n)

    def miss(terms: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Squared norm of a weighted sum of vectors, from their products."""
        return torch.stack([a * b * gram[i, j] for i, a in terms for j, b in terms]).sum(0).clamp(min=0)

    one = torch.ones((), dtype=torch.float64)
    first = torch.full((n,), torch.inf, dtype=torch.float64)
    start, j = torch.zeros(n - 1, dtype=torch.int64), levels[1:]
    decay = torch.exp(log_snr[0] - log_snr[1:])
    first[1:] = miss([(j, one), (start, -decay), (start + n, decay - 1)])

    later = torch.full((n, n, n), torch.inf, dtype=torch.float64)
    k, i, j = torch.combinations(levels, 3).T
    weights = exponential_weights(torch.stack([log_snr[i], log_snr[k]], -1), log_snr[i], log_snr[j])
    decay = torch.exp(log_snr[i] - log_snr[j])
    later[k, i, j] = miss([(j, one), (i, -decay), (i + n, -weights[:, 0]), (k + n, -weights[:, 1])])
    return first, later, miss([(torch.full_like(levels, 2 * n), one), (levels + n, -one)])


def shortest_path(first: Tensor, later: Tensor, last: Tensor, steps: int) -> list[int]:
    """Indices of the ``steps`` levels, the first 0, with the smallest total error; the last step goes to the result."""
    if steps == 1:
        return [0]
    best = torch.full_like(later[0], torch.inf)
    best[0] = first
    before = []
    for _ in range(steps - 2):
        best, previous = (best[:, :, None] + later).min(0)
        before.append(previous)
    place = int((best + last).argmin())
    path = [place % len(last), place // len(last)]
    for previous in reversed(before):
        path.append(int(previous[path[-1], path[-2]]))
    return path[::-1]
