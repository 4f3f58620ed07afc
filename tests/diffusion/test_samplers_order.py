"""Every deterministic sampler converges at its order, and interpolating samplers are exact for polynomials."""

import math
from collections import deque
from itertools import pairwise, product

import numpy as np
import pytest
import torch

from multidiff.diffusion.samplers import (
    DEIS,
    IPNDM,
    LMS,
    Adaptive,
    DPMSolverMultistep,
    DPMSolverSinglestep,
    UniPC,
    integrate,
)
from multidiff.diffusion.samplers.multistep import Multistep

from .conftest import SCHEDULES, mixture_of
from .family import (
    CACHED,
    FIRST,
    LAST,
    ORDERS,
    STEPS,
    TWO,
    ZeroNoise,
    double_noise,
    exact_path,
    measured_order,
    path_error,
)

LONG = 100
"""Steps from which a proof under a second schedule is slow."""

PROOFS = sorted(
    {
        *product(TWO[:1], ORDERS, ["uniform"]),
        *product(TWO[1:], [name for name, steps in STEPS.items() if steps < LONG], ["karras"]),
        *product(SCHEDULES, ["deis 2"], ["uniform"]),
    }
)
"""All samplers under two schedules, which stand for all; but DEIS interpolates in time.

`test_deis_is_exact_on_polynomials_in_time` proves its other orders under every schedule.
"""


@pytest.mark.parametrize(("schedule_name", "name", "spacing"), PROOFS)
def test_converges_at_its_order(schedule_name, name, spacing):
    """From n to 4 n steps. Multistep methods of order 3 and above start with exact history."""
    (order, make), mixture = ORDERS[name], mixture_of(CACHED[schedule_name])
    sampler = make(mixture.schedule)
    assert sampler.order == order
    exact_start = order if order > 2 and isinstance(sampler, Multistep) else 0
    assert measured_order(mixture, sampler, spacing, STEPS[name], exact_start) > order - 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, steps in STEPS.items() if steps >= LONG])
def test_samplers_of_many_steps_converge_on_another_grid(name):
    test_converges_at_its_order(TWO[1], name, "karras")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, (order, _) in ORDERS.items() if order > 2])
def test_without_exact_history_the_order_is_two_or_three_with_a_corrector(name):
    """The first Euler step limits the order to 2; a corrector raises the order of that step."""
    mixture = mixture_of(CACHED["flow"])
    sampler = ORDERS[name][1](mixture.schedule)
    kept = 3 if getattr(sampler, "corrector", False) or not isinstance(sampler, Multistep) else 2
    assert measured_order(mixture, sampler, "uniform", 80) > kept - 0.1


def test_ipndm_has_the_order_of_its_estimates_on_equal_steps_of_sigma():
    mixture = mixture_of(CACHED["karras"])
    errors = []
    for steps in (200, 800):
        ratio = torch.linspace(math.exp(-FIRST), math.exp(-LAST), steps + 1, dtype=torch.float64)
        errors.append(path_error(mixture, IPNDM(mixture.schedule), -torch.log(ratio), exact_start=4))
    assert math.log2(errors[0] / errors[1]) / 2 > 4 - 0.1


@pytest.mark.parametrize("rtol", [1e-3, 1e-5])
def test_the_adaptive_solver_keeps_its_tolerance(mixture, rtol):
    """The global error is at most ten times the tolerance of a step, and the cost scales as for order 3."""
    calls = []

    def counted(x_t, t):
        calls.append(t)
        return mixture(x_t, t)

    times = mixture.schedule.time(torch.tensor([FIRST, LAST], dtype=torch.float64))
    x = mixture.schedule.alpha(times[0]) * exact_path()(FIRST)
    x = integrate(counted, x, double_noise(8), Adaptive(mixture.schedule, rtol=rtol, atol=rtol), times)
    error = x - mixture.schedule.alpha(times[1]) * exact_path()(LAST)
    assert error.abs().max() < 10 * rtol
    assert len(calls) < 3 * (20 + 4 * rtol ** (-1 / 3))


def certify_order(sampler):
    mixture = mixture_of(sampler.schedule)
    exact_start = sampler.order if isinstance(sampler, Multistep) else 0
    assert measured_order(mixture, sampler, "uniform", 20, exact_start) > sampler.order - 0.1


LOG_SNR = torch.tensor([-1.0, -0.7, -0.2, 0.1, 0.7, 1.0, 1.6], dtype=torch.float64)
"""An irregular grid."""


def certify_polynomials(sampler, degree, form="data", variable=lambda log_snr, schedule: log_snr):
    """With full history, each step is exact if the interpolated estimate is a polynomial in ``variable``.

    In the data form the estimate x0 is one, in the noise form the noise. The truth is the integral of the equation,
    ``(1 + eta) exp((1 + eta) l) x0 dl`` or ``-(1 + eta) exp(-l) noise dl``, by Gauss and Legendre's rule.
    """
    schedule, eta = sampler.schedule, getattr(sampler, "eta", 0.0)
    rate = 1 + eta if form == "data" else -1.0
    times = schedule.time(LOG_SNR)
    alpha, sigma = schedule.alpha(times), schedule.sigma(times)
    points, weights = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(40))

    def polynomial(log_snr):
        powers = variable(log_snr, schedule)[..., None] ** torch.arange(degree + 1, dtype=torch.float64)
        return (powers * torch.tensor([0.3, -0.7, 0.4, 0.2, -0.1], dtype=torch.float64)[: degree + 1]).sum(-1)

    def denoise(x_t, t):
        value = polynomial(schedule.log_snr(t))
        return value.expand_as(x_t) if form == "data" else (x_t - schedule.sigma(t) * value) / schedule.alpha(t)

    def exact_step(x, k):
        start, stop = LOG_SNR[k], LOG_SNR[k + 1]
        inside = start + (stop - start) * (points + 1) / 2
        whole = (weights * rate * torch.exp(rate * (inside - stop)) * polynomial(inside)).sum() * (stop - start) / 2
        if form == "data":
            return sigma[k + 1] / sigma[k] * torch.exp(eta * (start - stop)) * x + alpha[k + 1] * whole
        return alpha[k + 1] / alpha[k] * x + (1 + eta) * sigma[k + 1] * whole

    x = torch.tensor([[0.5, -1.0]], dtype=torch.float64)
    history, started = deque(), min(degree + 1, len(times) - 3)
    exact = x
    for k, (t, s) in enumerate(pairwise(times)):
        x, exact = sampler.step(denoise, x, t, s, history, ZeroNoise()), exact_step(exact, k)
        if k < started:
            x = exact
            if history:
                history[0] = history[0]._replace(base=None)
    torch.testing.assert_close(x, exact, rtol=0, atol=1e-11)


EXPONENTIAL = [(DPMSolverMultistep, order) for order in (1, 2, 3, 4, 5)] + [
    (DPMSolverSinglestep, order) for order in (1, 2, 3)
]
EQUATIONS = list(product(("data", "noise"), (0.0, 0.5, 1.0)))
"""Form and eta."""


@pytest.mark.parametrize(("make", "order"), EXPONENTIAL)
@pytest.mark.parametrize("number", range(len(SCHEDULES)))
def test_exponential_solvers_are_exact_on_polynomials_in_log_snr(number, make, order):
    """Every solver under every schedule, in both forms and with every eta."""
    schedule = list(SCHEDULES.values())[number]
    form, eta = EQUATIONS[(number + order) % len(EQUATIONS)]
    certify_polynomials(make(schedule, order=order, form=form, eta=eta), order - 1, form)


@pytest.mark.parametrize("form", ["data", "noise"])
@pytest.mark.parametrize("predictor_order", [3, 4])
@pytest.mark.parametrize("corrector", [False, True])
def test_unipc_is_exact_on_polynomials_in_log_snr(schedule, predictor_order, corrector, form):
    sampler = UniPC(schedule, predictor_order=predictor_order, corrector=corrector, form=form)
    certify_polynomials(sampler, predictor_order - 1, form)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_lms_is_exact_on_polynomials_in_sigma(schedule, order):
    certify_polynomials(
        LMS(schedule, order), order - 1, "noise", variable=lambda log_snr, schedule: torch.exp(-log_snr)
    )


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_deis_is_exact_on_polynomials_in_time(schedule, order):
    certify_polynomials(
        DEIS(schedule, order), order - 1, "noise", variable=lambda log_snr, schedule: schedule.time(log_snr)
    )


def test_a_step_that_exceeds_stretch_uses_two_estimates():
    """For any order; steps of similar length use all estimates."""
    schedule = CACHED["cosine"]
    for log_snr, same in (([-2.0, -1.5, -1.0, 0.0], 2), ([-2.0, -1.5, -1.0, -0.5], 3)):
        times = schedule.time(torch.tensor(log_snr, dtype=torch.float64))
        ends = []
        for sampler in (DPMSolverMultistep(schedule, 3, stretch=1.2), DPMSolverMultistep(schedule, same)):
            ends.append(integrate(mixture_of(schedule), double_noise(8).start(), double_noise(8), sampler, times))
        torch.testing.assert_close(*ends)
