"""A fitted grid has a lower error than standard grids at few steps."""

from collections import deque
from itertools import combinations, pairwise

import pytest
import torch

from multidiff.diffusion.denoiser import Observed
from multidiff.diffusion.grids import Interpolated, KarrasRho, Uniform, UniformLogSNR
from multidiff.diffusion.guidance import ClassifierFreeGuidance
from multidiff.diffusion.optimized_grid import FineRuns, optimized_grid, shortest_path, step_errors
from multidiff.diffusion.samplers import DPMSolverMultistep, sample
from multidiff.diffusion.schedules import Cosine, Karras, LinearVP
from multidiff.diffusion.thresholding import StaticThresholding
from multidiff.nn.bfloat16 import InBfloat16

from .conftest import mixture_of
from .gaussian import Gaussian, means, noise


@pytest.mark.parametrize(
    ("schedule", "steps"),
    [(Cosine(), 6), (LinearVP(), 8), (Karras(), 10), (Karras(), 6)],
    ids=["cosine-6", "linear-8", "karras-10", "karras-6"],
)
def test_a_fitted_grid_beats_the_others(schedule, steps):
    """Measured on other samples than the grid was fitted to, against the exact solution from the start of each grid."""
    mixture, method = mixture_of(schedule), DPMSolverMultistep(schedule, 2)
    fitted = optimized_grid(mixture, noise(64, 2), steps)

    def error(grid):
        times = grid(schedule, steps)
        highest = torch.exp(-schedule.log_snr(times[0])).clamp(max=1e4).item()
        fine = UniformLogSNR(sigma_min=1e-4, sigma_max=highest)(schedule, 200)
        others = noise(128, 2, seed=1000)
        exact = sample(mixture, others, DPMSolverMultistep(schedule, 3), fine)
        return (sample(mixture, others, method, times) - exact).square().mean().sqrt()

    assert error(fitted) < min(error(grid) for grid in (Uniform(), KarrasRho(), UniformLogSNR()))


def test_it_takes_one_sampling_run_on_a_fine_grid():
    denoiser = Gaussian()
    assert len(optimized_grid(denoiser, noise(4, 2), 5).log_snr) == 5
    assert denoiser.rows == [4] * 64


WRAPPED = {
    "guided": lambda denoiser: ClassifierFreeGuidance(denoiser, 2.0, interval=(-1.0, 1.0)),
    "clipped": StaticThresholding,
    "bfloat16": InBfloat16,
    "observed": lambda denoiser: Observed(denoiser, lambda x0: None),
}


@pytest.mark.parametrize("wrapped", WRAPPED.values(), ids=WRAPPED)
def test_levels_are_those_that_the_wrapped_network_was_trained_at(wrapped):
    denoiser = Gaussian()
    denoiser.log_snr_range = (-3.0, 2.0)
    levels = optimized_grid(wrapped(denoiser), noise(4, 2), 5, means(*[[0.5, 0.5]] * 4)).log_snr
    assert min(levels) == levels[0] == -3
    assert max(levels) <= 2


def test_batches_of_samples_fit_the_grid_of_all():
    denoiser = mixture_of(Cosine())
    runs = FineRuns(denoiser.schedule, denoiser.log_snr_range)
    for first, count in ((0, 5), (5, 3)):
        runs.add(denoiser, noise(count, 2, seed=first))
    for steps in (3, 8):
        assert runs.grid(steps).log_snr == optimized_grid(denoiser, noise(8, 2), steps).log_snr


def test_the_path_is_the_shortest_of_all():
    torch.manual_seed(0)
    first, later, last = torch.rand(7), torch.rand(7, 7, 7), torch.rand(7)
    first[0] = torch.inf
    k, i, j = torch.meshgrid(*[torch.arange(7)] * 3, indexing="ij")
    later[~((k < i) & (i < j))] = torch.inf

    def length(path):
        middle = sum(later[path[m], path[m + 1], path[m + 2]] for m in range(len(path) - 2))
        return first[path[1]] + middle + last[path[-1]]

    for steps in (2, 3, 5, 7):
        every = [(0, *rest) for rest in combinations(range(1, 7), steps - 1)]
        assert tuple(shortest_path(first, later, last, steps)) == min(every, key=length)
    assert shortest_path(first, later, last, 1) == [0]


def test_step_errors_are_those_of_the_sampler():
    """From the exact state and history, one step of the multistep sampler has the computed error."""
    schedule = Cosine()
    log_snr = torch.tensor([-1.0, -0.4, 0.3, 1.1], dtype=torch.float64)
    times, method = schedule.time(log_snr), DPMSolverMultistep(schedule, 2)
    torch.manual_seed(0)
    states, estimates, x0 = (torch.randn(n, 5, dtype=torch.float64) for n in (4, 4, 1))
    vectors = torch.cat([states, estimates, x0])
    first, later, last = step_errors(vectors @ vectors.T, log_snr)
    alpha = schedule.alpha(times)

    def after(*path):
        history = deque()
        for here, there in pairwise(path):
            x_t, estimate = alpha[here] * states[here], estimates[here]
            x = method.step(lambda x_t, t, x0=estimate: x0, x_t, times[here], times[there], history, None)
        return (x / alpha[path[-1]] - states[path[-1]]).square().sum()

    torch.testing.assert_close(first[2], after(0, 2))
    torch.testing.assert_close(later[0, 1, 3], after(0, 1, 3))
    torch.testing.assert_close(last[3], (x0 - estimates[3]).square().sum())
    assert later[1, 1, 2].isinf()


def test_levels_are_interpolated_and_the_ends_kept():
    schedule, grid = Cosine(), Interpolated([-3.0, -1.0, 0.0, 4.0])
    for steps, levels in ((4, [-3, -1, 0, 4]), (7, [-3, -2, -1, -0.5, 0, 2, 4]), (1, [-3]), (2, [-3, 4])):
        found = schedule.log_snr(grid(schedule, steps)[:-1])
        torch.testing.assert_close(found, torch.tensor(levels, dtype=torch.float64))


def test_levels_beyond_the_schedule_are_clipped():
    torch.testing.assert_close(Interpolated([-50.0, 0.0])(LinearVP(), 2)[0].item(), 1.0)


@pytest.mark.parametrize("levels", [[], [1.0, 0.0]])
def test_levels_increase(levels):
    with pytest.raises(ValueError, match="increasing"):
        Interpolated(levels)


@pytest.mark.parametrize("steps", [0, 65])
def test_an_impossible_number_of_steps_is_refused(steps):
    with pytest.raises(ValueError, match=f"1 to 64 steps, got {steps}"):
        optimized_grid(Gaussian(), noise(1, 2), steps)
