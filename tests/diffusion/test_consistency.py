"""The exact solution map is the stationary point of consistency training and distillation; networks converge to it."""

import math
from contextlib import nullcontext

import pytest
import torch
from scipy.integrate import solve_ivp

from multidiff.diffusion.denoiser import NetworkDenoiser, coefficients
from multidiff.diffusion.objectives import Consistency, LogNormalSigma, few_step
from multidiff.diffusion.predictions import EDM, Epsilon, Flow, Sample, Velocity
from multidiff.diffusion.schedules import Cosine, LinearVP, Schedule

from .conftest import SCHEDULES
from .few_step import (
    TIMES,
    Perceptron,
    SolutionMap,
    gaussian_1d,
    gradient,
    mixture_1d,
    noisy,
    single,
    slope,
    solve,
    trained,
    transported,
)

T = 0.6


def easy(stages=8, huber=1e3):
    """With a Huber constant for which the loss is the squared error, divided by twice the constant."""
    return Consistency(times=TIMES, stages=stages, huber=huber)


def test_the_solution_map_is_exact():
    """Against an adaptive method of order 8 at a tolerance of 1e-12; of a Gaussian, in closed form."""
    law = mixture_1d(Cosine())
    x_t, t = noisy(law, 0.9, 20)

    def field(angle, z):
        return slope(law, torch.from_numpy(z)[:, None], torch.tensor([[angle]]))[:, 0].numpy()

    path = solve_ivp(field, (0.9 * math.pi / 2, 0), x_t[:, 0].numpy(), method="DOP853", rtol=1e-12, atol=1e-12)
    exact = torch.from_numpy(path.y[:, -1:])
    torch.testing.assert_close(solve(law, x_t, t, torch.zeros_like(t)), exact, rtol=0, atol=1e-6)
    for schedule in SCHEDULES.values():
        law = gaussian_1d(schedule)
        x_t, t = noisy(law, T, 20)
        for s in (torch.zeros_like(t), t / 2):
            torch.testing.assert_close(solve(law, x_t, t, s), transported(law, x_t, t, s), rtol=0, atol=1e-6)


def certify(distilled, law):
    """The bias of the gradient at the exact map halves with the gap, and a shift of the map is noticed in full.

    For an estimate ``f + shift sin(angle)``, the derivative of the loss divided by the gap tends to
    ``shift sin(angle) d sin(angle) / du``, with the noise level u, and the Huber constant as a unit.
    """
    teacher, huber, stages = (law if distilled else None), 1e3, (6, 8)
    biases = [huber * gradient(easy(n, huber), SolutionMap(law), T, teacher) for n in stages]
    assert math.log2(biases[0] / biases[1]) / 2 > 0.9
    level = torch.exp(-law.schedule.log_snr(torch.tensor(T).double())).item()
    sine, change = level / math.hypot(1, level), (1 + level**2) ** -1.5
    shifted = huber * gradient(easy(10, huber), SolutionMap(law, 0.5), T, teacher)
    bias = huber * gradient(easy(10, huber), SolutionMap(law), T, teacher)
    assert shifted - bias == pytest.approx(0.5 * sine * change, rel=0.02)
    assert abs(bias) < 0.05 * abs(shifted)


@pytest.mark.parametrize("distilled", [False, True], ids=["training", "distillation"])
@pytest.mark.parametrize("law", [mixture_1d, gaussian_1d])
def test_the_solution_map_is_stationary_up_to_first_order_in_the_gap(law, distilled):
    certify(distilled, law(Cosine()))


@pytest.mark.parametrize("name", ["karras", "shifted flow", "zero terminal"])
def test_the_stationary_point_does_not_depend_on_the_schedule(name):
    certify(True, gaussian_1d(SCHEDULES[name]))


def fresh_noise(context, x_t, t, noise, scale):
    return context.x0, torch.randn(noise.shape, generator=torch.Generator().manual_seed(1), dtype=noise.dtype)


def estimate_of_student(context, x_t, t, noise, scale):
    a, sigma = coefficients(context.student.schedule, t, x_t)
    x0 = context.student(x_t, t, context.cond)
    return x0, (x_t - a * x0) / sigma


@pytest.mark.parametrize(
    ("name", "mistake"),
    [
        ("target_pass", lambda x: nullcontext()),
        ("direction", fresh_noise),
        ("direction", estimate_of_student),
    ],
    ids=["gradient through the target", "other noise at s", "the student's own jump as the tangent"],
)
def test_known_mistakes_are_caught(monkeypatch, name, mistake):
    monkeypatch.setattr(f"multidiff.diffusion.objectives.consistency.{name}", mistake)
    with pytest.raises(AssertionError):
        certify(False, gaussian_1d(Cosine()))


@pytest.mark.slow
@pytest.mark.parametrize("distilled", [False, True], ids=["training", "distillation"])
def test_a_network_converges_to_the_solution_map(distilled):
    """In one step from noise, and from any time: self-consistency. In units of the data, whose deviation is 0.87."""
    law = mixture_1d(Cosine())
    objective = Consistency(times=LogNormalSigma(-0.8, 1.6), stages=6)
    student = trained(objective, law, teacher=single(law) if distilled else None)
    for t in (0.3, 0.6, 0.9):
        x_t, time = noisy(law, t)
        found = student(x_t.float(), time.float()).double()
        exact = solve(law, x_t, time, torch.zeros_like(time))
        assert (found - exact).square().mean().sqrt() < 0.15
        x_s = solve(law, x_t, time, time / 2)
        assert (student(x_s.float(), time.float() / 2) - found).square().mean().sqrt() < 0.15


def test_pairs_tighten_with_progress():
    level = torch.logspace(-3, 2, 50, dtype=torch.float64)
    gaps = [level - easy().lower(level, progress) for progress in (0, 0.3, 0.99, 1)]
    assert ((gaps[0] <= level) & (gaps[0] > gaps[1]) & (gaps[1] > gaps[2])).all()
    assert torch.equal(gaps[2], gaps[3])
    assert (easy().lower(level, 0)[level < 0.1] == 0).all()


@pytest.mark.parametrize(
    ("schedule", "prediction", "message"),
    [
        (Cosine(), Sample(), "Sample is not the identity"),
        (Cosine(), Epsilon(), "Epsilon gives no x0 at t = 1 of Cosine"),
        (LinearVP(), Epsilon(), None),
        (Cosine(), Velocity(), None),
        (Cosine(), Flow(), None),
        (Cosine(), EDM(), None),
    ],
)
def test_models_that_cannot_be_a_solution_map_are_refused(schedule: Schedule, prediction, message):
    student = NetworkDenoiser(Perceptron(), schedule, prediction)
    with pytest.raises(ValueError, match=message) if message else nullcontext():
        easy().check(student, None, (1,))


def test_guidance_needs_a_teacher_and_is_a_scale_or_a_range():
    student = NetworkDenoiser(Perceptron("guidance"), Cosine(), Velocity())
    objective = Consistency(times=TIMES, guidance=[1, 3])
    with pytest.raises(ValueError, match="needs a teacher"):
        objective.check(student, None, (1,))
    assert (objective.inputs, objective.trained.guidance) == (("guidance",), (1, 3))
    assert (Consistency(times=TIMES, guidance=2).inputs, Consistency(times=TIMES).trained.guidance) == ((), (1, 1))
    for wrong in ([3, 1], 0, [1, 2, 3]):
        with pytest.raises(ValueError, match="guidance must be"):
            Consistency(times=TIMES, guidance=wrong)


def test_a_pair_has_the_same_dropout():
    """So that two evaluations at the same noise level are equal."""
    x, dropout = torch.ones(64, 8), torch.nn.Dropout(0.5)
    with few_step.target_pass(x):
        target = dropout(x)
    assert torch.equal(target, dropout(x))
    assert not torch.equal(target, dropout(x))
