"""The exact average velocity is the stationary point of MeanFlow, with guidance too, and its sampler is exact."""

from collections import deque
from contextlib import nullcontext
from itertools import pairwise

import pytest
import torch

from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import NetworkDenoiser, coefficients
from multidiff.diffusion.objectives import Context, LogitNormal, MeanFlow
from multidiff.diffusion.predictions import Flow, Sample, Velocity
from multidiff.diffusion.samplers import MeanFlow as MeanFlowSampler
from multidiff.diffusion.schedules import Cosine, RectifiedFlow

from .conftest import SCHEDULES
from .few_step import (
    TIMES,
    AverageVelocity,
    Perceptron,
    gaussian_1d,
    mixture_1d,
    noisy,
    pairs_through,
    single,
    solve,
    trained,
)

T, S, SCALE = 0.7, 0.3, 2.5


def squared(kind=MeanFlow, **settings):
    return kind(times=TIMES, power=0.0, **settings)


def gradient(objective, student, s, teacher=None, cond=None):
    """The derivative of the expected loss for the times ``T`` and ``s`` with respect to the shift of the student."""
    x0, noise, weights = pairs_through(student.data, T)
    t, s = (torch.full((len(x0),), value, dtype=torch.float64) for value in (T, s))
    cond = None if cond is None else Conditioning(torch.ones(len(x0), 1, dtype=torch.float64))
    context = Context(student, x0, cond, torch.Generator().manual_seed(0), teacher=teacher)
    loss = (weights * objective.between(context, t, s, noise)).sum()
    return torch.autograd.grad(loss, student.shift)[0].item()


class Student(AverageVelocity):
    """``data`` are the samples that it is trained on."""

    def __init__(self, law, shift=0.0):
        super().__init__(law, shift, steps=8)
        self.data = law


class GuidedStudent(Student):
    """The exact average velocity of the guided ODE of two Gaussians of equal deviation, which is that of a Gaussian.

    Its mean is ``null + scale (mean - null)``. The null condition has the velocity of its own Gaussian, for any scale.
    """

    def __init__(self, schedule, shift=0.0):
        super().__init__(gaussian_1d(schedule, -0.5 + SCALE * (0.3 + 0.5)), shift)
        self.data, self.null = gaussian_1d(schedule, 0.3), Student(gaussian_1d(schedule, -0.5))

    def forward(self, x_t, t, cond=None, s=None, scale=None):
        return super().forward(x_t, t, cond, s) if cond.vector.any() else self.null(x_t, t, s=s)


def certify(make, kind=MeanFlow, teacher=None, guided=False):
    """The gradient is zero at the exact velocity; at ``u - shift k``, it is ``2 shift k (k + (r_t - r_s) dk/dr)``.

    Here ``k = (alpha + sigma) / sqrt(alpha^2 + sigma^2)``, the gain of the shift in u.
    """
    objective = squared(kind, guidance=SCALE if guided else 1.0)
    schedule = make().schedule
    for s in (S, T):
        assert abs(gradient(objective, make(), s, teacher, cond=guided or None)) < 1e-5
        r, r_s = (1 / (1 + torch.exp(schedule.log_snr(torch.tensor(v).double())).item()) for v in (T, s))
        k = ((1 - r) ** 2 + r**2) ** -0.5
        expected = 2 * 0.5 * k * (k - (r - r_s) * (2 * r - 1) * k**3)
        assert gradient(objective, make(0.5), s, teacher, cond=guided or None) == pytest.approx(expected, rel=1e-3)


def gaussian(name="flow"):
    return lambda shift=0.0: Student(gaussian_1d(SCHEDULES[name]), shift)


@pytest.mark.parametrize("name", ["flow", "shifted flow", "cosine", "karras", "zero terminal"])
def test_the_average_velocity_is_stationary_under_every_schedule(name):
    certify(gaussian(name))


@pytest.mark.slow
def test_the_average_velocity_of_a_mixture_is_stationary():
    """And with its denoiser as the teacher, for every sample, whatever the power."""
    law = mixture_1d(RectifiedFlow())
    assert abs(gradient(squared(), Student(law), S)) < 1e-3
    assert abs(gradient(squared(), Student(law), T)) < 1e-5
    assert abs(gradient(MeanFlow(times=TIMES), Student(law), S, teacher=law)) < 1e-3


def test_guidance_is_inside_the_target():
    certify(lambda shift=0.0: GuidedStudent(RectifiedFlow(), shift), guided=True)


class NoGap(MeanFlow):
    """The factor ``r_t - r_s`` is missing."""

    def gap(self, schedule, t, s):
        return torch.ones_like(t)


class OtherSign(MeanFlow):
    def gap(self, schedule, t, s):
        return -super().gap(schedule, t, s)


class GapInTime(MeanFlow):
    """``t - s`` in place of ``r_t - r_s``."""

    def gap(self, schedule, t, s):
        return t - s


@pytest.mark.parametrize("mistake", [NoGap, OtherSign, GapInTime], ids=lambda kind: kind.__name__)
def test_known_mistakes_are_caught(mistake):
    with pytest.raises(AssertionError):
        certify(gaussian("cosine"), mistake)


def test_a_gradient_through_the_target_is_caught(monkeypatch):
    monkeypatch.setattr("multidiff.diffusion.objectives.mean_flow.target_pass", lambda x: nullcontext())
    with pytest.raises(AssertionError):
        certify(gaussian())


class GuidanceOutside(MeanFlow):
    """The loss is guided afterwards, the target is not."""

    def guided(self, context, x_t, t, ends, scale, given):
        return ends


class NullOfTheAverage(MeanFlow):
    """The null velocity is that at the second time, the average, in place of that at t."""

    def guided(self, context, x_t, t, ends, scale, given):
        null = context.student(x_t, t, context.cond.null(), s=torch.zeros_like(t), scale=given)
        x0 = null + scale[:, None] * (ends[0] - null)
        a, sigma = coefficients(context.student.schedule, t, x_t)
        return x0, (x_t - a * x0) / sigma


@pytest.mark.parametrize("mistake", [GuidanceOutside, NullOfTheAverage], ids=lambda kind: kind.__name__)
def test_known_mistakes_of_guidance_are_caught(mistake):
    with pytest.raises(AssertionError):
        certify(lambda shift=0.0: GuidedStudent(RectifiedFlow(), shift), mistake, guided=True)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_sampler_is_exact_for_the_average_velocity(schedule, steps):
    """In one step and in several, from any noise level, to 0 included."""
    law = gaussian_1d(schedule)
    x, _ = noisy(law, 0.9, 20)
    student, sampler = AverageVelocity(law), MeanFlowSampler(schedule)
    times = torch.linspace(0.9, 0, steps + 1, dtype=torch.float64)
    exact = solve(law, x, times[:1].expand(20), times[-1:].expand(20))
    for t, s in pairwise(times):
        x = sampler.step(lambda x, t, s: student(x, t.expand(20), s=s.expand(20)), x, t, s, deque(), None)
    torch.testing.assert_close(x, exact, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("distilled", "steps"), [(False, 400), (True, 200)], ids=["training", "distillation"])
def test_a_network_converges_to_the_average_velocity(distilled, steps):
    """The distance of its samples to the truth, in units of the data, and of its two parts of a path to the whole."""
    law = mixture_1d(RectifiedFlow())
    objective = MeanFlow(times=LogitNormal(0.0, 1.2), apart=0.7, power=0.0)
    student = trained(objective, law, Flow(), steps=steps, teacher=single(law) if distilled else None)
    sampler = MeanFlowSampler(law.schedule)

    def move(x, t, s):
        t, s = (torch.tensor(v).double() for v in (t, s))
        return sampler.step(lambda x, t, s: student(x, t, s=s), x, t, s, deque(), None)

    for t in (0.5, 0.95):
        x_t, time = noisy(law, t)
        found = move(x_t.float(), t, 0.0).double()
        assert (found - solve(law, x_t, time, torch.zeros_like(time))).square().mean().sqrt() < 0.2
        halfway = move(move(x_t.float(), t, t / 2), t / 2, 0.0)
        assert (found - halfway).square().mean().sqrt() < 0.1


def test_the_network_must_take_a_second_time_and_the_prediction_be_a_map():
    objective = squared()
    assert objective.inputs == ("second_time",)
    assert squared(guidance=[1, 3]).inputs == ("second_time", "guidance")
    with pytest.raises(ValueError, match="does not take the input second_time"):
        NetworkDenoiser(Perceptron(), Cosine(), Velocity())(torch.zeros(2, 1), torch.ones(2), s=torch.zeros(2))
    with pytest.raises(ValueError, match="Sample is not the identity"):
        objective.check(NetworkDenoiser(Perceptron("second_time"), Cosine(), Sample()), None, (1,))


def test_a_fraction_of_the_samples_has_two_times():
    seen = []

    class Recorded(MeanFlow):
        def between(self, context, t, s, noise):
            seen.append((t, s))
            return t

    student = NetworkDenoiser(Perceptron("second_time"), Cosine(), Velocity())
    context = Context(student, torch.zeros(4000, 1), None, torch.Generator().manual_seed(0))
    Recorded(times=TIMES, apart=0.25)(context)
    ((t, s),) = seen
    assert (s <= t).all()
    assert (s < t).double().mean() == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("setting", [{"apart": 1.5}, {"power": -1.0}, {"constant": 0.0}])
def test_settings_out_of_range_are_refused(setting):
    with pytest.raises(ValueError, match="need 0 <= apart <= 1, power >= 0 and constant > 0"):
        MeanFlow(times=TIMES, **setting)
