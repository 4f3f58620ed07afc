"""The exact solution map is the stationary point of latent consistency distillation; a network converges to it."""

import math
from contextlib import nullcontext

import pytest
import torch

from multidiff.diffusion.denoiser import NetworkDenoiser, coefficients
from multidiff.diffusion.objectives import GridTimes, LatentConsistency, latent_consistency
from multidiff.diffusion.predictions import Epsilon
from multidiff.diffusion.samplers import LCM, skip_connection
from multidiff.diffusion.schedules import Cosine

from .few_step import SolutionMap, gaussian_1d, gradient, mixture_1d, noisy, single, solve, trained

T = 0.6
SCALE = 2.0
"""Of the time, for which the skip connection is noticeable."""


def latent(steps, huber=1e3):
    """With a Huber constant for which the loss is the squared error, divided by twice the constant."""
    return LatentConsistency(times=GridTimes(steps), huber=huber, time_scale=SCALE)


class Skipped(SolutionMap):
    """A student whose jump is exact for ``shift = 0``; the shift is added to its estimate."""

    def forward(self, x_t, t, cond=None, s=None, scale=None):
        c_skip, c_out = skip_connection(t[:, None], 0.5, SCALE)
        exact = super().estimate(x_t, t, torch.zeros_like(t))
        return torch.where(c_out > 0, (exact - c_skip * x_t) / c_out, exact) + self.shift


def certify():
    """The gradient at the exact map is of second order in the gap; that of a shift is of first order, and exact.

    A shift of the estimate by d changes the jump by ``d c_out(t)``, and the derivative of the loss by
    ``d c_out(t) c_out'(t)`` for each unit of the gap, with the Huber constant as a unit.
    """
    law, huber = gaussian_1d(Cosine()), 1e3
    biases = [huber * gradient(latent(n, huber), Skipped(law), T, law) for n in (50, 100)]
    assert math.log2(biases[0] / biases[1]) > 1.9
    time = torch.tensor(T, dtype=torch.float64, requires_grad=True)
    c_out = skip_connection(time, 0.5, SCALE)[1]
    expected = 0.5 * (c_out * torch.autograd.grad(c_out, time)[0]).item()
    shifted = huber * gradient(latent(1000, huber), Skipped(law, 0.5), T, law)
    bias = huber * gradient(latent(1000, huber), Skipped(law), T, law)
    assert (shifted - bias) * 1000 == pytest.approx(expected, rel=0.02)


def test_the_solution_map_is_stationary_up_to_second_order_in_the_gap():
    certify()


@pytest.mark.parametrize(
    ("name", "mistake"),
    [
        ("target_pass", lambda x: nullcontext()),
        ("skip_connection", lambda t, *settings: (torch.zeros_like(t), torch.ones_like(t))),
        ("ddim_step", lambda schedule, x0, x_t, t, s: on_the_data(schedule, x0, x_t, s)),
    ],
    ids=["gradient through the target", "no skip connection", "the DDIM step keeps x_t in place of the noise"],
)
def test_known_mistakes_are_caught(monkeypatch, name, mistake):
    monkeypatch.setattr(latent_consistency, name, mistake)
    with pytest.raises(AssertionError):
        certify()


def on_the_data(schedule, x0, x_t, s):
    a, sigma = coefficients(schedule, s, x_t)
    return a * x0 + sigma * x_t


@pytest.mark.slow
def test_a_network_converges_to_the_solution_map():
    """In one step from noise, and from any time. In units of the data, whose deviation is 0.87."""
    law = mixture_1d(Cosine())
    student = trained(LatentConsistency(times=GridTimes(12), huber=0.1), law, teacher=single(law), rate=1e-2)
    sampler = LCM(law.schedule)
    for t in (0.3, 0.6, 0.9):
        x_t, time = noisy(law, t)
        found = sampler.jump(lambda x, at: student(x.float(), at[:, 0].float()).double(), x_t, time[:, None])
        exact = solve(law, x_t, time, torch.zeros_like(time))
        assert (found - exact).square().mean().sqrt() < 0.15


def test_an_estimate_that_cannot_start_is_refused():
    student = NetworkDenoiser(torch.nn.Identity(), Cosine(), Epsilon())
    with pytest.raises(ValueError, match="Epsilon gives no x0 at t = 1 of Cosine"):
        latent(50).check(student, gaussian_1d(Cosine()), (1,))


def test_the_huber_constant_is_above_zero():
    with pytest.raises(ValueError, match="huber must be above 0, got 0"):
        latent(50, 0)
