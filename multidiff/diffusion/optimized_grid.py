"""The grid that fits a model: the few levels between which a solver's own local errors add up to the least."""

import torch
from torch import Tensor

from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import Denoiser
from multidiff.diffusion.grids import Interpolated, UniformLogSNR
from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.samplers import DPMSolverMultistep, sample
from multidiff.diffusion.samplers.exponential import exponential_weights

CANDIDATES = 64
"""Levels among which those of the grid are chosen, equally spaced in log SNR."""


def optimized_grid(
    denoiser: Denoiser, noise: NoiseSource, steps: int, cond: Conditioning | None = None
) -> Interpolated:
    """The grid of ``steps`` steps with the least squared local errors of second-order multistep DPM-Solver++.

    One fine sampling gives x and the estimate of x0 at every candidate level. From these follows, with no further
    evaluation, by how much each possible step ``i -> j``, with the estimate at k before it, misses the fine solution:
    ``|y_j - (r_j / r_i) y_i - w_i x0_i - w_k x0_k|^2`` in ``y = x / alpha`` and ``r = sigma / alpha``, as a mean over
    samples. Of it ``c^2 / (c^2 + r_j^2)`` lasts to the end, where c is the standard deviation of the data; exact
    for a Gaussian. Errors of different steps are taken to be uncorrelated. The best way through all levels is then a
    shortest path, found by dynamic programming over the last two levels. Chen et al. (2024),
    https://arxiv.org/abs/2405.11326, do so for Euler's step and the norm.

    Args:
        denoiser: as it will be sampled, guidance included.
        noise: of the samples to measure on; a few are enough.
        steps: at least 1 and at most `CANDIDATES`.
        cond: conditions of those samples.

    Raises:
        ValueError: another number of steps.
    """
    if not 1 <= steps <= CANDIDATES:
        raise ValueError(f"a grid is computed for 1 to {CANDIDATES} steps, got {steps}")
    schedule = denoiser.schedule
    times = UniformLogSNR()(schedule, CANDIDATES)
    recorder = Recorder(denoiser)
    x0 = sample(recorder, noise, DPMSolverMultistep(schedule, 3), times, cond)
    log_snr = schedule.log_snr(times[:-1])
    states = torch.stack(recorder.states) / schedule.alpha(times[:-1])[:, None]
    vectors = torch.cat([states, torch.stack(recorder.estimates), x0.flatten().to(states)[None]])
    first, later, last = step_errors(vectors @ vectors.T / vectors.shape[1], log_snr)
    lasting = 1 / (1 + torch.exp(-2 * log_snr) / x0.to(log_snr).var())
    return Interpolated(
        [round(log_snr[i].item(), 3) for i in shortest_path(first * lasting, later * lasting, last, steps)]
    )


class Recorder(Denoiser):
    """A denoiser that keeps what it is asked and what it answers."""

    def __init__(self, denoiser: Denoiser):
        super().__init__()
        self.denoiser = denoiser
        self.schedule = denoiser.schedule
        self.states: list[Tensor] = []
        self.estimates: list[Tensor] = []

    def forward(self, x_t: Tensor, t: Tensor, cond: Conditioning | None = None) -> Tensor:
        x0 = self.denoiser(x_t, t, cond)
        self.states.append(x_t.flatten().to("cpu", torch.float64))
        self.estimates.append(x0.flatten().to("cpu", torch.float64))
        return x0


def step_errors(gram: Tensor, log_snr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Squared errors of the first step ``0 -> j``, ``(N,)``, of a later one ``i -> j`` after k, and of the last.

    The later ones are indexed ``(k, i, j)``. Infinite where a step does not go down.

    Args:
        gram: mean products of N states, N estimates and the result, ``(2 N + 1, 2 N + 1)``.
        log_snr: of the levels, ``(N,)``.
    """
    n = len(log_snr)
    levels = torch.arange(n)

    def miss(terms: list[tuple[Tensor, Tensor]]) -> Tensor:
        """The square of a weighted sum of vectors, from their products."""
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
    """The levels from 0 that ``steps`` steps visit, the last of which leads to the result, at the least total error."""
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
