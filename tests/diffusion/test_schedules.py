"""Schedules satisfy their formulas, invert exactly, and keep their precision at both ends."""

import math

import pytest
import torch
from torch.func import grad, vmap

from multidiff.diffusion.schedules import Cosine, Karras, LinearVP, RectifiedFlow, Sigmoid, ZeroTerminalSNR

from .conftest import SCHEDULES

TIMES = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)


def test_time_inverts_log_snr(schedule):
    torch.testing.assert_close(schedule.time(schedule.log_snr(TIMES)), TIMES, rtol=1e-9, atol=0)


def test_time_inverts_log_snr_at_both_ends(schedule):
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(schedule.time(schedule.log_snr(ends)), ends, rtol=0, atol=1e-9)


def test_starts_clean_and_loses_signal_monotonically(schedule):
    t = torch.linspace(0, 1, 1001, dtype=torch.float64)
    assert schedule.alpha(t[0]) == 1
    assert schedule.sigma(t[0]) == 0
    assert (schedule.alpha(t).diff() <= 0).all()
    assert (schedule.sigma(t).diff() > 0).all()
    assert (schedule.log_snr(t).diff() < 0).all()


@pytest.mark.parametrize("name", ["cosine", "flow", "shifted flow", "sigmoid", "zero terminal"])
def test_ends_with_no_signal(name):
    end = torch.ones((), dtype=torch.float64)
    assert SCHEDULES[name].alpha(end) == 0
    assert SCHEDULES[name].log_snr(end) == -math.inf
    torch.testing.assert_close(SCHEDULES[name].sigma(end), end)


@pytest.mark.parametrize("name", ["linear", "cosine", "sigmoid", "zero terminal"])
def test_preserves_variance(name):
    total = SCHEDULES[name].alpha(TIMES) ** 2 + SCHEDULES[name].sigma(TIMES) ** 2
    torch.testing.assert_close(total, torch.ones_like(total), rtol=1e-12, atol=0)


def derivatives(function):
    return vmap(grad(function))(TIMES)


def test_linear_vp_solves_its_stochastic_differential_equation():
    """``d alpha / dt = -beta alpha / 2`` and ``d sigma^2 / dt = beta (1 - sigma^2)``, beta linear in t."""
    schedule = LinearVP(beta_min=0.1, beta_max=20.0)
    beta = 0.1 + 19.9 * TIMES
    torch.testing.assert_close(derivatives(schedule.alpha), -beta / 2 * schedule.alpha(TIMES))
    variance_rate = derivatives(lambda t: schedule.sigma(t) ** 2)
    torch.testing.assert_close(variance_rate, beta * schedule.alpha(TIMES) ** 2)


def test_cosine_rotates_at_a_constant_rate():
    schedule = Cosine()
    torch.testing.assert_close(derivatives(schedule.alpha), -math.pi / 2 * schedule.sigma(TIMES))
    torch.testing.assert_close(derivatives(schedule.sigma), math.pi / 2 * schedule.alpha(TIMES))


def test_flow_is_straight():
    torch.testing.assert_close(derivatives(RectifiedFlow().alpha), -torch.ones_like(TIMES))
    torch.testing.assert_close(derivatives(RectifiedFlow().sigma), torch.ones_like(TIMES))


def test_flow_shift_multiplies_the_noise_level():
    shift = RectifiedFlow().log_snr(TIMES) - RectifiedFlow(shift=3.0).log_snr(TIMES)
    torch.testing.assert_close(shift, torch.full_like(TIMES, math.log(3)))


def test_sigmoid_power_follows_the_logistic_curve():
    """``d alpha^2 / dt`` is proportional to ``g (1 - g)`` with ``g = sigmoid(6 t - 3)``."""
    power_rate = derivatives(lambda t: Sigmoid().alpha(t) ** 2)
    g = torch.sigmoid(6 * TIMES - 3)
    edges = torch.sigmoid(torch.tensor([-3.0, 3.0], dtype=torch.float64))
    torch.testing.assert_close(power_rate, -6 * g * (1 - g) / (edges[1] - edges[0]))


def test_karras_spaces_noise_levels_like_edm():
    """Uniform times give equal steps in the rho-th root of ``sigma + sigma_min``, from 80 to 0."""
    schedule = Karras(sigma_min=0.002, sigma_max=80.0, rho=7.0)
    roots = (schedule.sigma(TIMES) + 0.002) ** (1 / 7)
    torch.testing.assert_close(roots.diff(), roots.diff().mean().expand(98))
    torch.testing.assert_close(schedule.sigma(torch.ones(1).double()), torch.tensor([80.0]).double())


def test_zero_terminal_rescales_alpha_linearly():
    inner, outer = LinearVP(), ZeroTerminalSNR(LinearVP())
    last = inner.alpha(torch.ones((), dtype=torch.float64))
    torch.testing.assert_close(outer.alpha(TIMES) * (1 - last) + last, inner.alpha(TIMES))


def test_zero_terminal_refuses_a_schedule_that_explodes_variance():
    with pytest.raises(ValueError, match="Karras does not preserve variance"):
        ZeroTerminalSNR(Karras())


def test_single_precision_has_no_cancellation(schedule):
    """Near t = 0 sigma is small; computed as ``sqrt(1 - alpha^2)`` it would lose all digits."""
    t = torch.logspace(-4, 0, 50, dtype=torch.float64)
    for function in (schedule.alpha, schedule.sigma):
        error = (function(t.float()).double() - function(t.float().double())).abs()
        assert (error <= 2e-6 * function(t.float().double()) + 1e-7 * (t > 0.5)).all()


@pytest.mark.parametrize(
    ("schedule", "settings"),
    [(LinearVP, {"beta_min": 3.0, "beta_max": 1.0}), (Karras, {"sigma_min": 0.0}), (RectifiedFlow, {"shift": 0.0})],
)
def test_impossible_settings_are_refused(schedule, settings):
    with pytest.raises(ValueError, match=r"must be|need"):
        schedule(**settings)
