"""The mean and the variance of stochastic samplers converge to those of the data, without Monte Carlo error.

For Gaussian data the denoiser is affine, so a sampler is affine in its start and its noise. A batch in which each row
has a single source of noise switched on gives the mean and the variance of the samples to machine precision.
"""

import math
from collections import deque
from dataclasses import replace
from itertools import cycle, pairwise, product

import pytest
import torch

from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.samplers import (
    Consistency,
    DPMSolverMultistep,
    DPMSolverSinglestep,
    Heun,
    Restart,
    integrate,
)

from .family import CACHED, FIRST, LAST, REVERSE_SDE, STOCHASTIC, TWO, log_snr_grid

MEAN, STD = 0.7, 0.4


@pytest.fixture(params=CACHED)
def schedule(request):
    return CACHED[request.param]


class Sources(NoiseSource):
    """One noise source per row: none in row 0, the initial noise in row 1, and one increment of time in each other row.

    Without ``times`` all noise is zero, and the requested times are recorded for each branch and direction.
    """

    def __init__(self, times=None):
        super().__init__([0], (), torch.float64)
        self.place, self.requested, self.ends, self.count = (), {}, {}, 2
        for path, visited in (times or {}).items():
            self.ends[path] = self.count, {time: k for k, time in enumerate(sorted(visited))}
            self.count += len(visited) - 1

    def between(self, t, s):
        path, (low, high) = (self.place, bool(t < s)), sorted((float(t), float(s)))
        self.requested.setdefault(path, set()).update((low, high))
        noise = torch.zeros(self.count, dtype=torch.float64)
        if self.ends:
            first, index = self.ends[path]
            widths = torch.tensor(list(index), dtype=torch.float64)[index[low] : index[high] + 1].diff()
            noise[first + index[low] : first + index[high]] = torch.sqrt(widths / (high - low))
        return noise

    def branch(self, *numbers):
        other = object.__new__(Sources)
        other.__dict__ = {**self.__dict__, "place": (*self.place, *numbers)}
        return other


def gaussian_denoiser(schedule):
    def denoise(x_t, t):
        a, s = schedule.alpha(t), schedule.sigma(t)
        return MEAN + a * STD**2 / ((a * STD) ** 2 + s**2) * (x_t - a * MEAN)

    return denoise


def marginal(schedule, t):
    """Mean and variance of x_t."""
    return schedule.alpha(t) * MEAN, (schedule.alpha(t) * STD) ** 2 + schedule.sigma(t) ** 2


def sampled_law(denoise, sampler, times, mean, variance):
    """Mean and variance of the result for a normal start."""
    recorder = Sources()
    integrate(denoise, torch.zeros(2, dtype=torch.float64), recorder, sampler, times)
    sources = Sources(recorder.requested)
    x = torch.full((sources.count,), float(mean), dtype=torch.float64)
    x[1] += variance**0.5
    x = integrate(denoise, x, sources, sampler, times)
    return x[0], ((x - x[0]) ** 2).sum()


def law_error(schedule, sampler, times):
    """The larger of the errors of mean and variance at the end of ``times``, from an exact start."""
    law = sampled_law(gaussian_denoiser(schedule), sampler, times, *marginal(schedule, times[0]))
    return max(abs(one - other).item() for one, other in zip(law, marginal(schedule, times[-1]), strict=True))


def shifted_mean(schedule, start, t, eta):
    """The mean at ``t`` of the reverse SDE from a law whose mean at ``start`` is off by 1.

    A shift shrinks as ``(v_s / v_t)^((1 + eta) / 2) (alpha_t / alpha_s)^eta``, where v is the variance.
    """
    (_, variance), (mean, rest) = marginal(schedule, start), marginal(schedule, t)
    return mean + (rest / variance) ** ((1 + eta) / 2) * (schedule.alpha(start) / schedule.alpha(t)) ** eta


def mean_error(schedule, sampler, times, eta):
    """The error of the mean for a start whose mean is off by 1."""
    mean, variance = marginal(schedule, times[0])
    made = sampled_law(gaussian_denoiser(schedule), sampler, times, mean + 1, variance)[0]
    return abs(made - shifted_mean(schedule, times[0], times[-1], eta)).item()


def slope(error, schedule, spacing, steps):
    times = [schedule.time(log_snr_grid(spacing, n)) for n in (steps, 4 * steps)]
    return math.log2(error(schedule, times[0]) / error(schedule, times[1])) / 2


STEADY = [name for name in STOCHASTIC if name not in {"edm_churn", "restart", "restart twice"}]
"""Samplers that converge at fixed settings; churn and restarts are tested separately."""


def certify_law(schedule, name, spacing):
    sampler = STOCHASTIC[name](schedule)
    steps = {"dpmpp_sde": 120, "dpmpp_3s_sde": 40}.get(name, 30)  # small errors reach the asymptotic regime later

    def error(schedule, times):
        return law_error(schedule, sampler, times)

    assert slope(error, schedule, spacing, steps) > sampler.weak_order - 0.1


STAGED = ("dpmpp_3s_sde", "dpm_solver_sde")
"""Samplers of several stages: how the noise of a step is divided between them depends on the schedule.

Each schedule is proved with one of them, since they divide the noise by the same code.
"""


@pytest.mark.parametrize(
    ("schedule", "name"), sorted({*product(TWO[:1], STEADY), *zip(CACHED, cycle(STAGED))}), indirect=["schedule"]
)
def test_mean_and_variance_converge_at_the_weak_order(schedule, name):
    """Of the other samplers, one schedule stands for all: `test_a_step_with_the_true_x0_is_exact` for any."""
    certify_law(schedule, name, "uniform")


@pytest.mark.slow
def test_mean_and_variance_of_dpmpp_sde_converge_under_every_schedule(schedule):
    """It needs more steps than the others of several stages."""
    certify_law(schedule, "dpmpp_sde", "uniform")


@pytest.mark.slow
@pytest.mark.parametrize("name", STEADY)
def test_mean_and_variance_converge_on_another_grid(name):
    certify_law(CACHED[TWO[1]], name, "karras")


@pytest.mark.parametrize(
    ("schedule", "method"), list(zip(CACHED, cycle([Heun, DPMSolverSinglestep]))), indirect=["schedule"]
)
def test_mean_and_variance_of_a_restart_converge_at_the_inner_order(schedule, method):
    """The steps of a restart grow in proportion to those of the grid."""

    def error(schedule, times):
        return law_error(schedule, Restart(schedule, method, low=0.2, high=1.0, steps=len(times) // 4), times)

    assert slope(error, schedule, "karras", 40) > 2 - 0.1


def test_mean_and_variance_with_churn_converge_at_second_order(schedule):
    """With a total churn that does not depend on the number of steps, as in the paper."""

    def error(schedule, times):
        return law_error(schedule, Heun(schedule, churn=8 / len(times)), times)

    assert slope(error, schedule, "uniform", 40) > 2 - 0.1


@pytest.mark.parametrize("schedule", TWO[:1], indirect=True)
@pytest.mark.parametrize("name", REVERSE_SDE)
def test_the_mean_follows_the_sde_from_a_shifted_start(schedule, name):
    """At eta = 0.5: at 1 the x0 estimate of a Gaussian has a constant mean, for which the data form is exact.

    The mean is the sample without noise; `test_x0_depends_on_the_log_snr_grid_alone` compares it under every schedule.
    """
    sampler = replace(REVERSE_SDE[name](schedule), eta=0.5)
    order = min(sampler.order, 2)  # the first steps have no history

    def error(schedule, times):
        return mean_error(schedule, sampler, times, sampler.eta)

    assert slope(error, schedule, "uniform", 30) > order - 0.1


def third_order_mean_error(sampler):
    """`mean_error` as a function of schedule and times, with exact results of the first three steps."""

    def error(schedule, times):
        denoise, history, sources = gaussian_denoiser(schedule), deque(), Sources()
        x = shifted_mean(schedule, times[0], times[0], sampler.eta).expand(sources.count)
        for k, (t, s) in enumerate(pairwise(times)):
            x = sampler.step(denoise, x, t, s, history, sources)
            if k < 3:
                x = shifted_mean(schedule, times[0], s, sampler.eta).expand(sources.count)
        return (x[0] - shifted_mean(schedule, times[0], times[-1], sampler.eta)).abs().item()

    return error


@pytest.mark.parametrize("schedule", TWO, indirect=True)
def test_the_mean_of_the_third_order_sde_solver_converges_at_third_order(schedule):
    """With exact history. With half of the second difference the slope is 2, see test_samplers_mutations.py."""
    error = third_order_mean_error(DPMSolverMultistep(schedule, 3, eta=0.5))
    assert slope(error, schedule, "uniform", 120) > 3 - 0.1


def certify_step(sampler):
    """Given x0, a step in the data form takes q(x_t | x0) to q(x_s | x0), for any step size."""
    times = torch.tensor([0.7, 0.4], dtype=torch.float64)
    (a_t, s_t), (a_s, s_s) = ((sampler.schedule.alpha(t), sampler.schedule.sigma(t)) for t in times)
    law = sampled_law(lambda x, t: torch.full_like(x, MEAN), sampler, times, a_t * MEAN, s_t**2)
    torch.testing.assert_close(torch.stack(law), torch.stack([a_s * MEAN, s_s**2]), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", [name for name in STEADY if not name.startswith("dpm_")])
def test_a_step_with_the_true_x0_is_exact(schedule, name):
    certify_step(STOCHASTIC[name](schedule))


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_consistency_sampling_is_exact_for_the_map_of_the_ode(schedule, steps):
    """In one step and in several, from any noise level with signal."""

    def jump(x_t, t):
        mean, variance = marginal(schedule, t)
        return MEAN + STD * (x_t - mean) / variance**0.5

    times = torch.linspace(0.9, 0, steps + 1, dtype=torch.float64)
    law = sampled_law(jump, Consistency(schedule), times, *marginal(schedule, times[0]))
    torch.testing.assert_close(torch.stack(law), torch.tensor([MEAN, STD**2], dtype=torch.float64))


def test_the_measured_range_covers_signal_and_noise():
    """Slopes are measured over most of the way from noise to data."""
    schedule = CACHED["cosine"]
    shares = [schedule.alpha(schedule.time(torch.tensor(end).double())) ** 2 for end in (FIRST, LAST)]
    assert shares[0] < 0.02
    assert shares[1] > 0.99
