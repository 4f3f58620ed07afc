"""Inversion converges at the order of the sampler, and likelihoods agree with their closed form."""

import math
from itertools import cycle

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from multidiff.diffusion.grids import KarrasRho, Uniform, UniformLogSNR
from multidiff.diffusion.likelihood import log_likelihood, trace
from multidiff.diffusion.samplers import DDPM, Adaptive, DPMSolverSinglestep, Heun, UniPC, integrate, invert, sample

from .conftest import SCHEDULES, mixture_of
from .family import CACHED, DETERMINISTIC, FIRST, ORDERS, double_noise, exact_path, log_snr_grid


def test_inversion_is_finite(mixture):
    """From x0 to zero signal."""
    x0 = mixture.means + 0.1
    for make in (Heun, UniPC, DPMSolverSinglestep):
        assert invert(mixture, x0, make(mixture.schedule), Uniform()(mixture.schedule, 10)).isfinite().all()


def round_trip_error(mixture, sampler, steps):
    """Error of sampling from log SNR ``FIRST`` to x0, followed by inversion."""
    times = torch.cat([mixture.schedule.time(log_snr_grid("karras", steps)), torch.zeros(1, dtype=torch.float64)])
    start = mixture.schedule.alpha(times[0]) * exact_path()(FIRST)
    x0 = integrate(mixture, start, double_noise(8), sampler, times)
    return (invert(mixture, x0, sampler, times, rounds=8) - start).norm().item()


ROUND_TRIP = ["euler", "midpoint", "heun", "dpmpp_2s", "dpmpp_3s", "dpm_solver_3s", "dpmpp_2m", "unipc_2 bh2"]


@pytest.mark.parametrize(("name", "schedule_name"), list(zip(ROUND_TRIP, cycle(SCHEDULES))))
def test_a_round_trip_converges_at_the_order_of_the_sampler(schedule_name, name):
    (order, make), mixture = ORDERS[name], mixture_of(CACHED[schedule_name])
    errors = [round_trip_error(mixture, make(mixture.schedule), steps) for steps in (24, 96)]
    assert math.log2(errors[0] / errors[1]) / 2 > order - 0.1


@pytest.mark.parametrize("name", [name for name in DETERMINISTIC if name not in ROUND_TRIP])
def test_every_other_deterministic_sampler_can_be_inverted(name):
    mixture = mixture_of(CACHED["flow"])
    assert round_trip_error(mixture, DETERMINISTIC[name](mixture.schedule), 80) < 1


def test_the_first_inversion_step_inverts_the_last_sampling_step(mixture):
    """The noise at the lowest noise level is recovered to rounding error."""
    times = torch.tensor([0.01, 0.0], dtype=torch.float64)
    x = mixture.schedule.alpha(times[0]) * mixture.means + mixture.schedule.sigma(times[0]) * double_noise(3).start()
    x0 = mixture(x, times[0])
    assert (invert(mixture, x0, Heun(mixture.schedule), times) - x).abs().max() < 1e-3 * (x - x0).abs().max()


@pytest.mark.parametrize("function", [invert, log_likelihood])
def test_stochastic_samplers_are_refused(function):
    mixture = mixture_of(SCHEDULES["flow"])
    with pytest.raises(ValueError, match="DDPM is stochastic"):
        function(mixture, mixture.means, DDPM(mixture.schedule), Uniform()(mixture.schedule, 4))


def log_density(mixture, x0):
    components = Independent(Normal(mixture.means, mixture.stds[:, None].expand_as(mixture.means)), 1)
    return MixtureSameFamily(Categorical(mixture.weights), components).log_prob(x0)


X0 = torch.tensor([[1.0, 0.4], [0.0, 0.0], [-0.5, 1.2], [2.0, -1.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("make", "order", "name"), [(Heun, 2, "cosine"), (DPMSolverSinglestep, 2, "flow"), (UniPC, 3, "zero terminal")]
)
def test_the_likelihood_is_the_closed_form_at_the_samplers_order(make, order, name):
    """The grid starts where x_T is standard normal to 1e-6."""
    mixture = mixture_of(SCHEDULES[name])
    errors = []
    for steps in (60, 240):
        grid = UniformLogSNR(sigma_min=0.005, sigma_max=1e6)(mixture.schedule, steps)
        found = log_likelihood(mixture, X0, make(mixture.schedule), grid)
        errors.append((found - log_density(mixture, X0)).abs().max())
    assert errors[-1] < 0.05
    assert math.log2(errors[0] / errors[1]) / 2 > order - 0.1


@pytest.mark.slow
def test_the_likelihood_under_every_schedule(mixture):
    """Up to ten tolerances, and the error of a standard normal x_T, whose mean is off by at most 1.3 alpha / sigma."""
    grid = KarrasRho(sigma_max=80)(mixture.schedule, 2)
    level = torch.exp(mixture.schedule.log_snr(grid[0]))
    found = log_likelihood(mixture, X0, Adaptive(mixture.schedule, rtol=1e-4, atol=1e-4), grid)
    assert (found - log_density(mixture, X0)).abs().max() < 5 * level + 1e-3


def test_the_mean_likelihood_of_samples_is_that_of_the_model():
    """In any shape, and by Hutchinson's estimate within 4 standard errors."""
    mixture = mixture_of(SCHEDULES["cosine"])
    mixture.means = mixture.means.reshape(3, 1, 2)
    solver, grid = DPMSolverSinglestep(mixture.schedule, 3), KarrasRho()(mixture.schedule, 20)
    x0 = sample(mixture, double_noise(1, (1, 2)), solver, grid).repeat(200, 1, 1)
    exact = log_likelihood(mixture, x0[:1], solver, grid)
    estimates = log_likelihood(mixture, x0, solver, grid, probes=double_noise(200, (1, 2)))
    assert estimates.std() > 0
    assert (estimates.mean() - exact).abs() < 4 * estimates.std() / 200**0.5


def test_hutchinsons_trace_is_exact_in_the_mean_over_all_signs():
    x = torch.tensor([[0.3, -0.2]], dtype=torch.float64, requires_grad=True)
    output = torch.stack([x[:, 0] ** 2 + x[:, 1], torch.sin(x[:, 1]) * x[:, 0]], dim=1)
    signs = [torch.tensor([[a, b]], dtype=torch.float64) for a in (-1, 1) for b in (-1, 1)]
    estimates = [torch.autograd.grad(output, x, v, retain_graph=True)[0].mul(v).sum() for v in signs]
    torch.testing.assert_close(torch.stack(estimates).mean(), trace(output, x, None)[0])
