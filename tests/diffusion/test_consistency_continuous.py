"""The exact solution map is the stationary point of consistency training in continuous time, for every schedule."""

import dataclasses
import math
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from modalities.shape.transformer import LatentPointTransformer
from multidiff.diffusion.denoiser import NetworkDenoiser, coefficients
from multidiff.diffusion.objectives import ContinuousConsistency, LogNormalSigma
from multidiff.diffusion.objectives.derivative import along, check_derivative
from multidiff.diffusion.predictions import Velocity
from multidiff.diffusion.schedules import Cosine
from multidiff.nn.dit import DiT
from multidiff.nn.unet import UNet

from .conftest import SCHEDULES
from .few_step import TIMES, SolutionMap, gaussian_1d, gradient, mixture_1d, noisy, single, solve, trained

T, LARGE = 0.6, 1e4


def objective(constant=LARGE, kind=ContinuousConsistency):
    """With a large constant, the tangent is divided by that constant."""
    return kind(times=TIMES, constant=constant)


def exact(law, shift=0.0):
    return SolutionMap(law, shift, steps=12)


def certify(law, distilled, kind=ContinuousConsistency):
    """The gradient is zero at the exact map, and at ``f + shift sin h`` it is ``2 shift cos^2 h / constant``."""
    teacher, scheduled = (law if distilled else None), objective(kind=kind)
    level = torch.exp(-law.schedule.log_snr(torch.tensor(T).double())).item()
    assert abs(LARGE * gradient(scheduled, exact(law), T, teacher)) < 1e-3
    shifted = LARGE * gradient(scheduled, exact(law, 0.5), T, teacher)
    assert shifted == pytest.approx(2 * 0.5 / (1 + level**2), rel=2e-3)


@pytest.mark.parametrize("distilled", [False, True], ids=["training", "distillation"])
def test_the_solution_map_is_stationary(distilled):
    certify(mixture_1d(Cosine()), distilled)


@pytest.mark.parametrize("name", ["linear", "sigmoid", "karras", "shifted flow", "zero terminal"])
def test_the_stationary_point_does_not_depend_on_the_schedule(name):
    certify(gaussian_1d(SCHEDULES[name]), False)


def test_distillation_is_stationary_with_normalised_tangents_too():
    law = gaussian_1d(Cosine())
    assert abs(gradient(objective(0.1), exact(law), T, law)) < 1e-6


def test_the_warm_up_begins_with_the_difference_to_the_velocity_alone():
    """Then the stationary point is the velocity, so the loss of the solution map has a gradient."""
    law = gaussian_1d(Cosine())
    a, b = (LARGE * gradient(objective(), exact(law), T, law, progress=p) for p in (0.0, 0.05))
    assert abs(a) > 1e-2
    assert b == pytest.approx(a / 2, rel=1e-3)


class NoDerivative(ContinuousConsistency):
    """The network's own derivative is missing."""

    def tangent(self, context, x_t, t, ends, value, change):
        return super().tangent(context, x_t, t, ends, value, torch.zeros_like(change))


class OtherSign(ContinuousConsistency):
    def normalised(self, tangent):
        return -super().normalised(tangent)


class PerTime(ContinuousConsistency):
    """The derivative is per unit of t, not of the angle."""

    def tangent(self, context, x_t, t, ends, value, change):
        return super().tangent(context, x_t, t, ends, value, change * math.pi / 2)


class NoGap(ContinuousConsistency):
    """The tangent of the sample is replaced by the student's, as if it were a denoiser."""

    def tangent(self, context, x_t, t, ends, value, change):
        a, sigma = coefficients(context.student.schedule, t, x_t)
        x0 = context.student(x_t, t)
        return super().tangent(context, x_t, t, (x0, (x_t - a * x0) / sigma), value, change)


@pytest.mark.parametrize("mistake", [NoDerivative, OtherSign, PerTime, NoGap], ids=lambda kind: kind.__name__)
def test_known_mistakes_are_caught(mistake):
    with pytest.raises(AssertionError):
        certify(gaussian_1d(Cosine()), False, mistake)


def test_a_gradient_through_the_target_is_caught(monkeypatch):
    monkeypatch.setattr("multidiff.diffusion.objectives.consistency_continuous.target_pass", lambda x: nullcontext())
    with pytest.raises(AssertionError):
        certify(gaussian_1d(Cosine()), False)


@pytest.mark.slow
def test_a_network_converges_to_the_solution_map():
    """In one step from noise, and from any time: self-consistency. In units of the data, whose deviation is 0.87."""
    law = mixture_1d(Cosine())
    student = trained(ContinuousConsistency(times=LogNormalSigma(-0.8, 1.6)), law, teacher=single(law))
    for t in (0.3, 0.6, 0.9):
        x_t, time = noisy(law, t)
        found = student(x_t.float(), time.float()).double()
        assert (found - solve(law, x_t, time, torch.zeros_like(time))).square().mean().sqrt() < 0.15
        x_s = solve(law, x_t, time, time / 2)
        assert (student(x_s.float(), time.float() / 2) - found).square().mean().sqrt() < 0.15


BACKBONES = {
    "unet": lambda: (
        UNet(dims=2, channels=2, widths=[8, 8], blocks=[1, 1], attention=[False, True], head_size=8), (4, 4)),
    "unet filtered": lambda: (
        UNet(dims=1, channels=2, widths=[8, 8], blocks=[1, 1], attention=[True, True], head_size=8, rotary=True,
             filtered=True, gated=True, gradient_checkpointing=True), (8,)),
    "dit": lambda: (DiT(dims=2, channels=2, patch=2, width=8, depth=1, head_size=4), (4, 4)),
    "points": lambda: (
        LatentPointTransformer(channels=2, width=8, latents=4, latent_width=8, rounds=1, latent_blocks=1, head_size=8),
        (6,)),
}  # fmt: skip


@pytest.mark.parametrize("name", BACKBONES)
def test_the_derivative_of_a_network_equals_finite_differences(name):
    """Along a straight path, per unit of time, in float64."""
    torch.manual_seed(0)
    network, size = BACKBONES[name]()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    denoiser = NetworkDenoiser(network.double().train(), SCHEDULES["flow"], Velocity())
    x0, noise = torch.randn(2, 3, 2, *size, dtype=torch.float64)
    t = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)

    def at(t):
        a, sigma = coefficients(denoiser.schedule, t, x0)
        return denoiser(a * x0 + sigma * noise, t)

    a, sigma = coefficients(denoiser.schedule, t, x0)
    with torch.no_grad():
        _, change = along(denoiser, denoiser.schedule, a * x0 + sigma * noise, t, (x0, noise), lambda a, sigma: sigma)
        difference = (at(t + 1e-5) - at(t - 1e-5)) / 2e-5
    torch.testing.assert_close(change, difference, rtol=1e-4, atol=1e-5)


class Opaque(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 1

    @staticmethod
    def backward(ctx, grad):
        return grad


class Layer(nn.Module):
    def forward(self, x):
        return Opaque.apply(x)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(2, 2), Layer()

    def forward(self, x, log_snr, cond):
        return self.second(self.first(x))


def test_a_module_without_a_derivative_is_named():
    with pytest.raises(ValueError, match=r"and second \(Layer\) has none"):
        check_derivative(NetworkDenoiser(Network(), Cosine(), Velocity()), (2,))


@pytest.mark.parametrize("setting", [{"warmup": -1.0}, {"constant": 0.0}])
def test_settings_out_of_range_are_refused(setting):
    with pytest.raises(ValueError, match="need 0 <= warmup <= 1 and constant > 0"):
        dataclasses.replace(objective(), **setting)
