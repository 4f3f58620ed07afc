"""Times follow their distributions, weightings are as published, and the exact denoiser minimises the objectives."""

import math

import pytest
import torch
from scipy import stats

from multidiff.diffusion.denoiser import NetworkDenoiser, coefficients
from multidiff.diffusion.objectives import (
    Consistency,
    Context,
    ContinuousConsistency,
    Denoising,
    Distillation,
    DistributionMatching,
    EDMWeighting,
    GridTimes,
    LatentConsistency,
    LogitNormal,
    LogNormalSigma,
    MeanFlow,
    MinSNR,
    SigmoidWeighting,
    Stratified,
    Uniform,
    UniformWeighting,
)
from multidiff.diffusion.objectives.times import RARE
from multidiff.diffusion.predictions import EDM, Epsilon, Flow, Sample, Velocity
from multidiff.diffusion.schedules import Cosine, Karras, RectifiedFlow

from .conftest import mixture_of

DISTRIBUTIONS = [Uniform(), LogitNormal(0.2, 0.8), LogNormalSigma(-1.2, 1.2), Stratified(), Stratified(LogitNormal())]
RARE_NORMAL = stats.norm.isf(RARE)
WEIGHTINGS = [UniformWeighting(), MinSNR(), EDMWeighting(), SigmoidWeighting()]
PREDICTIONS = [Epsilon(), Sample(), Velocity(), Flow(), EDM()]


def name(value):
    return type(value).__name__


def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize(
    ("distribution", "to_normal"),
    [
        (Uniform(), torch.special.ndtri),
        (Stratified(), torch.special.ndtri),
        (LogitNormal(0.2, 0.8), lambda t: (torch.logit(t) - 0.2) / 0.8),
        (LogNormalSigma(-1.2, 1.2), lambda t: (-Karras().log_snr(t) + 1.2) / 1.2),
    ],
    ids=["uniform", "stratified", "logit-normal", "log-normal sigma"],
)
def test_times_follow_their_distribution(distribution, to_normal):
    t = distribution.sample(Karras(), 20_000, generator()).double()
    assert stats.kstest(to_normal(t).numpy(), "norm").pvalue > 1e-3


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [
        (LogitNormal(0.2, 0.8), [-(0.2 + 0.8 * RARE_NORMAL), -(0.2 - 0.8 * RARE_NORMAL)]),
        (LogNormalSigma(-1.2, 1.2), [1.2 - 1.2 * RARE_NORMAL, 1.2 + 1.2 * RARE_NORMAL]),
        (Stratified(), [math.log(1e-3 / (1 - 1e-3)), math.log((1 - 1e-3) / 1e-3)]),
        (GridTimes(1), [-math.inf, math.inf]),
    ],
    ids=["logit-normal", "log-normal sigma", "uniform", "grid"],
)
def test_the_range_of_log_snr_has_all_times_but_a_thousandth_at_either_end(distribution, expected):
    assert distribution.log_snr_range(RectifiedFlow()) == pytest.approx(expected)


def test_a_network_is_told_the_nearest_noise_level_of_its_range():
    """And its output is still turned into x0 by the true one."""
    told = []

    def network(x, log_snr, cond, further):
        told.append((log_snr.tolist(), further["second_time"].tolist()))
        return torch.ones_like(x)

    network.inputs = ("second_time",)
    denoiser = NetworkDenoiser(network, RectifiedFlow(), Flow(), (-3.0, 2.0))
    x, t = torch.randn(4, 3, generator=generator(), dtype=torch.float64), torch.tensor([1.0, 0.6, 0.01, 0.0]).double()
    x0 = denoiser(x, t, s=t * t)
    between = math.log(0.4 / 0.6), math.log(0.64 / 0.36)
    assert told == [(pytest.approx([-3, between[0], 2, 2]), pytest.approx([-3, between[1], 2, 2]))]
    torch.testing.assert_close(x0, x - t[:, None])


def test_stratified_puts_one_time_in_each_stratum():
    t = Stratified().sample(Cosine(), 64, generator())
    assert sorted((t * 64).long().tolist()) == list(range(64))
    assert not (t.diff() > 0).all()


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=name)
def test_times_are_inside_the_interval_and_reproducible(schedule, distribution):
    t = distribution.sample(schedule, 5000, generator())
    assert t.dtype == torch.float32
    assert ((t > 0) & (t < 1)).all()
    assert torch.equal(t, distribution.sample(schedule, 5000, generator()))


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=name)
@pytest.mark.parametrize(
    ("weighting", "on_x0"),
    [
        (MinSNR(gamma=5.0), lambda snr: snr.clamp(max=5)),
        (EDMWeighting(sigma_data=0.5), lambda snr: (1 / snr + 0.25) / (0.25 / snr)),
        (SigmoidWeighting(bias=-1.0), lambda snr: snr * torch.sigmoid(-1 - snr.log())),
    ],
    ids=["min-SNR", "EDM", "sigmoid"],
)
def test_a_weighting_is_the_same_for_every_prediction(schedule, prediction, weighting, on_x0):
    """The loss of any output is the published weight times the squared error of the corresponding x0."""
    x0, noise, wrong = torch.randn(3, 19, 4, generator=generator(), dtype=torch.float64)
    t = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    a, s = coefficients(schedule, t, x0)
    network = Constant(prediction.target(x0, noise, a, s) + wrong)
    denoiser = NetworkDenoiser(network, schedule, prediction)
    error = (denoiser(a * x0 + s * noise, t) - x0).square().mean(1)
    loss = Denoising(Uniform(), weighting).at(Context(denoiser, x0, None, generator()), t, noise)
    torch.testing.assert_close(loss, on_x0(torch.exp(2 * schedule.log_snr(t))) * error)


class Constant(torch.nn.Module):
    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, x, log_snr, cond):
        return self.output


@pytest.mark.parametrize("weighting", WEIGHTINGS, ids=name)
@pytest.mark.parametrize("prediction", PREDICTIONS, ids=name)
def test_loss_is_finite_in_single_precision(schedule, prediction, weighting):
    denoiser = NetworkDenoiser(Constant(torch.zeros(4096, 3)), schedule, prediction)
    loss = Denoising(Stratified(), weighting)(Context(denoiser, torch.ones(4096, 3), None, generator()))
    assert loss.shape == (4096,)
    assert loss.isfinite().all()


def test_unit_weight_of_edm_is_uniform():
    t = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    schedule, prediction = Karras(), EDM(sigma_data=0.5)
    gain = prediction.gain(schedule.alpha(t), schedule.sigma(t))
    torch.testing.assert_close(EDMWeighting(0.5)(schedule.log_snr(t), gain), torch.ones_like(t))


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=name)
def test_the_posterior_mean_minimises_the_loss(prediction):
    """A shift of the exact output by 0.01 in either direction raises the loss by the second-order term 1e-4 only.

    With the same noise, 20,000 samples, and within 4 standard errors.
    """
    schedule, count = Cosine(), 20_000
    mixture = mixture_of(schedule)
    random = generator()
    component = torch.multinomial(mixture.weights, count, replacement=True, generator=random)
    x0 = mixture.means[component] + mixture.stds[component, None] * torch.randn(
        count, 2, generator=random, dtype=torch.float64
    )
    noise = torch.randn(count, 2, generator=random, dtype=torch.float64)
    t = torch.full((count,), 0.5, dtype=torch.float64)
    a, s = coefficients(schedule, t, x0)
    exact = mixture(a * x0 + s * noise, t)
    output = prediction.target(exact, (a * x0 + s * noise - a * exact) / s, a, s)
    objective = Denoising(Uniform(), UniformWeighting())

    def losses(shift):
        denoiser = NetworkDenoiser(Constant(output + shift), schedule, prediction)
        return objective.at(Context(denoiser, x0, None, generator()), t, noise)

    best = losses(0.0)
    for shift in (0.01, -0.01):
        rise = losses(shift) - best
        assert abs(rise.mean() - shift**2) < 4 * rise.std() / math.sqrt(count)


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=name)
def test_a_student_equal_to_its_teacher_has_zero_loss_at_every_time(schedule, prediction):
    """For every sample, not only in expectation."""
    mixture, (x0, noise) = mixture_of(schedule), torch.randn(2, 19, 2, generator=generator(), dtype=torch.float64)
    t = torch.linspace(1e-5, 1 - 1e-5, 19, dtype=torch.float64)
    a, s = coefficients(schedule, t, x0)
    x_t = a * x0 + s * noise
    exact = mixture(x_t, t)
    output = prediction.target(exact, (x_t - a * exact) / s, a, s)
    context = Context(NetworkDenoiser(Constant(output), schedule, prediction), x0, None, generator(), teacher=mixture)
    assert not Distillation(Uniform(), UniformWeighting()).at(context, t, noise).any()
    assert (Denoising(Uniform(), UniformWeighting()).at(context, t, noise) > 0).all()


class Elementwise(torch.nn.Module):
    """One function of each element and of the noise levels."""

    def __init__(self, slope, inputs):
        super().__init__()
        self.slope, self.inputs = slope, inputs

    def forward(self, x, log_snr, cond, further=None):
        levels = torch.stack([log_snr, *(further or {}).values()]).sigmoid().sum(0)
        return torch.tanh(self.slope * x + levels.reshape(-1, *[1] * (x.ndim - 1)))


def matching(context, t, noise):
    """The losses of `DistributionMatching` at given noise: that of its second network, and the push of the student."""
    objective = DistributionMatching(times=GridTimes(1), levels=Uniform())
    push = objective.push(context, context.x0, t, noise, None, None)
    return objective.denoising(context, context.x0, t, noise, None) + push[:, 0]


@pytest.mark.parametrize(
    ("loss", "inputs"),
    [
        (Denoising(Uniform(), UniformWeighting()).at, ()),
        (Distillation(Uniform(), UniformWeighting()).at, ()),
        (Consistency(times=Uniform()).at, ()),
        (ContinuousConsistency(times=Uniform()).at, ()),
        (LatentConsistency(times=GridTimes(8)).at, ()),
        (MeanFlow(times=Uniform(), apart=1.0).at, ("second_time",)),
        (matching, ()),
    ],
    ids=lambda value: getattr(value, "__qualname__", None),
)
def test_the_loss_of_a_sample_is_a_mean_over_its_elements_and_depends_on_no_other_sample(loss, inputs):
    """Copies of an element change nothing."""
    x0, noise = torch.randn(2, 5, 1, generator=generator(), dtype=torch.float64)
    t = torch.linspace(0.2, 0.9, 5, dtype=torch.float64)
    student, teacher, fake = (
        NetworkDenoiser(Elementwise(slope, inputs), Cosine(), Velocity()) for slope in (0.5, -0.7, 1.3)
    )

    def losses(rows, width):
        given = Context(student, x0[:rows].expand(-1, width), None, generator(), teacher=teacher, fake_score=fake)
        return loss(given, t[:rows], noise[:rows].expand(-1, width))

    alone = losses(5, 1)
    assert len(alone.unique()) == 5
    torch.testing.assert_close(losses(5, 3), alone)
    torch.testing.assert_close(losses(2, 1), alone[:2])


class Perceptron(torch.nn.Module):
    def __init__(self):
        super().__init__()
        sizes = [(4, 64), (64, 64), (64, 64)]
        hidden = [torch.nn.Sequential(torch.nn.Linear(*size), torch.nn.SiLU()) for size in sizes]
        self.layers = torch.nn.Sequential(*hidden, torch.nn.Linear(64, 2))

    def forward(self, x, log_snr, cond):
        angle = torch.atan(torch.exp(-log_snr))[:, None]
        return self.layers(torch.cat([x, angle.cos(), angle.sin()], dim=1))


def test_a_network_converges_to_its_teacher():
    """The loss of distillation from the exact denoiser falls to a tenth within 300 steps."""
    torch.manual_seed(0)
    mixture, random = mixture_of(Cosine()), generator()
    mixture.means, mixture.stds, mixture.weights = (x.float() for x in (mixture.means, mixture.stds, mixture.weights))
    student = NetworkDenoiser(Perceptron(), Cosine(), Velocity())
    objective, optimizer = Distillation(Stratified(), UniformWeighting()), torch.optim.Adam(student.parameters(), 1e-2)
    losses = []
    for _ in range(300):
        component = torch.multinomial(mixture.weights, 128, replacement=True, generator=random)
        x0 = mixture.means[component] + mixture.stds[component, None] * torch.randn(128, 2, generator=random)
        loss = objective(Context(student, x0, None, random, teacher=mixture)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-20:]) < 0.1 * sum(losses[:20])


def test_distillation_without_a_teacher_is_an_error():
    context = Context(NetworkDenoiser(Perceptron(), Cosine(), Velocity()), torch.zeros(2, 2), None, generator())
    with pytest.raises(ValueError, match="set teacher=MODEL_DIR"):
        Distillation(Uniform(), UniformWeighting())(context)


def test_offset_noise_shifts_each_channel_and_training_alone():
    x0 = torch.zeros(4000, 2, 8)
    noise = Denoising(Uniform(), UniformWeighting(), offset=0.5).noise(x0, generator())
    plain = Denoising(Uniform(), UniformWeighting()).noise(x0, generator())
    shifts = noise - plain
    assert torch.allclose(shifts, shifts[..., :1].expand_as(shifts), atol=1e-6)
    assert abs(float(shifts[..., 0].std()) - 0.5) < 0.02
    assert abs(float((shifts[:, 0, 0] * shifts[:, 1, 0]).mean())) < 0.02
    with pytest.raises(ValueError, match="at least 0"):
        Denoising(Uniform(), UniformWeighting(), offset=-1.0)
