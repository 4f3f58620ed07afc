"""Distribution matching is stationary at the teacher's distribution, and follows the gradient of the KL divergence."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from multidiff.diffusion.denoiser import NetworkDenoiser, coefficients
from multidiff.diffusion.objectives import Context, DistributionMatching, GridTimes, LogitNormal, Uniform
from multidiff.diffusion.predictions import Epsilon, Sample, Velocity
from multidiff.diffusion.schedules import Cosine, LinearVP, ZeroTerminalSNR

from .few_step import Perceptron, gaussian_1d, samples, single
from .test_objectives import generator

MEAN, STD = 0.3, 0.6
ONE_STEP = DistributionMatching(times=GridTimes(1), levels=Uniform())


class Affine(NetworkDenoiser):
    """A generator ``b + c z`` of the noise z at time 1, and the exact denoiser of its samples as fake-score network."""

    def __init__(self, schedule, b, c):
        super().__init__(nn.Identity(), schedule, Sample())
        self.b, self.c = nn.Parameter(torch.tensor(b).double()), nn.Parameter(torch.tensor(c).double())

    def forward(self, x_t, t, cond=None, s=None, scale=None):
        _, sigma = coefficients(self.schedule, t, x_t)
        return self.b + self.c * x_t / sigma


class Known(NetworkDenoiser):
    """The exact estimate of Gaussian samples, as a network."""

    def __init__(self, law):
        super().__init__(nn.Identity(), law.schedule, Sample())
        self.law = law

    def output(self, x_t, t, cond=None, s=None, scale=None):
        return self.law(x_t, t)


def context(schedule, b, c, count=20_000, known=True, step=0):
    """Of the generator ``b + c z``, whose fake-score network is exact, or has not noticed b and c."""
    law = gaussian_1d(schedule, MEAN, STD)
    fake = gaussian_1d(schedule, b, c) if known else law
    x0 = torch.zeros(count, 1, dtype=torch.float64)
    return Context(Affine(schedule, b, c), x0, None, generator(), teacher=law, fake_score=Known(fake), step=step)


def test_the_gradient_is_zero_at_the_distribution_of_the_teacher(schedule):
    given = context(schedule, MEAN, STD, count=64)
    loss = ONE_STEP.at(given, torch.ones(64).double(), torch.randn(64, 1).double()).mean()
    assert max(each.abs() for each in torch.autograd.grad(loss, list(given.student.parameters()))) < 1e-12


@pytest.mark.parametrize("t", [0.2, 0.6, 0.9])
def test_the_push_is_the_gradient_of_the_divergence_of_the_noisy_samples(schedule, t):
    """Of ``N(a b, F)`` and ``N(a m, R)``: ``a^2 (b - m) / R``, ``a^2 c (1 / R - 1 / F)``; times ``sigma^2 / a^2``."""
    b, c, count = -0.2, 0.9, 20_000
    given = context(schedule, b, c, count)
    z, noise = torch.randn(2, count, 1, generator=generator(), dtype=torch.float64)
    level, x0 = torch.full((count,), t, dtype=torch.float64), b + c * z
    a, sigma = (each[0].item() for each in coefficients(schedule, level, x0))
    real = given.taught(a * x0 + sigma * noise, level)
    push = ONE_STEP.push(given, x0, level, noise, None, None) * (x0 - real).abs()
    fake_variance, variance = (a * c) ** 2 + sigma**2, (a * STD) ** 2 + sigma**2
    expected = sigma**2 * (b - MEAN) / variance, sigma**2 * c * (1 / variance - 1 / fake_variance)
    for terms, wanted in zip((push, push * z), expected, strict=True):
        assert terms.mean().item() == pytest.approx(wanted, abs=5 * terms.std().item() / count**0.5)


def test_planted_mistakes_are_noticed():
    """A fake-score network that does not learn, and one in the place of the teacher."""
    t, z = torch.ones(64).double(), torch.randn(64, 1).double()
    blind, given = context(Cosine(), -0.2, 0.9, 64, known=False), context(Cosine(), -0.2, 0.9, 64)
    swapped = replace(given, teacher=given.fake_score.law, fake_score=Known(given.teacher))

    def slopes(context):
        return torch.autograd.grad(ONE_STEP.at(context, t, z).mean(), list(context.student.parameters()))

    assert slopes(given)[0] < 0  # the mean must rise
    assert slopes(given)[1] > 0  # the deviation must fall
    assert slopes(swapped)[0] > 0
    assert slopes(blind)[0] == 0


def test_the_student_learns_at_every_nth_step_and_the_fake_score_network_at_all():
    law, once = gaussian_1d(Cosine()), replace(ONE_STEP, every=3)
    student, fake = (NetworkDenoiser(Perceptron(width=8), Cosine(), Velocity()) for _ in range(2))
    for step in range(4):
        given = Context(student, torch.zeros(8, 1), None, generator(), teacher=single(law), fake_score=fake, step=step)
        student.zero_grad()
        fake.zero_grad()
        once(given).mean().backward()
        assert all((each.grad is not None) == (step % 3 == 0) for each in student.parameters())
        assert all(each.grad is not None for each in fake.parameters())


def test_at_its_first_time_the_student_is_given_noise_alone_and_noisy_data_later():
    objective = replace(ONE_STEP, times=GridTimes(2))
    given = replace(context(Cosine(), 0.0, 1.0, 2), x0=torch.full((2, 1), 5.0).double())
    start = objective.start(given, torch.tensor([1.0, 0.5]).double(), torch.zeros(2, 1).double())
    assert start.flatten().tolist() == pytest.approx([0.0, 5 * 0.5**0.5])


@pytest.mark.slow
def test_a_small_network_comes_to_the_distribution_of_the_teacher():
    law, steps, torch_random = gaussian_1d(Cosine(), MEAN, STD), 400, generator()
    torch.manual_seed(0)
    student, fake = (NetworkDenoiser(Perceptron(width=32), Cosine(), Velocity()) for _ in range(2))
    objective = DistributionMatching(times=GridTimes(1), levels=LogitNormal(), every=2)
    optimizer = torch.optim.Adam([*student.parameters(), *fake.parameters()], 4e-3, betas=(0.5, 0.99))
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        x0 = samples(law, 128, torch_random).float()
        given = Context(student, x0, None, torch_random, teacher=single(law), fake_score=fake, step=step)
        optimizer.zero_grad()
        objective(given).mean().backward()
        optimizer.step()
        decay.step()
    with torch.no_grad():
        generated = student(torch.randn(4000, 1, generator=torch_random), torch.ones(4000))
    assert generated.mean().item() == pytest.approx(MEAN, abs=0.1)
    assert generated.std().item() == pytest.approx(STD, rel=0.2)


def test_what_cannot_be_trained_is_refused():
    with pytest.raises(ValueError, match="every must be at least 1, got 0"):
        replace(ONE_STEP, every=0)
    no_end = NetworkDenoiser(nn.Identity(), ZeroTerminalSNR(LinearVP()), Epsilon())
    with pytest.raises(ValueError, match="Epsilon gives no x0 at t = 1 of ZeroTerminalSNR: set prediction=velocity"):
        ONE_STEP.check(no_end, gaussian_1d(no_end.schedule), (1,))
    ONE_STEP.check(NetworkDenoiser(nn.Identity(), LinearVP(), Epsilon()), gaussian_1d(LinearVP()), (1,))
    with pytest.raises(ValueError, match="trains a second network"):
        ONE_STEP.at(replace(context(Cosine(), 0.0, 1.0, 2), fake_score=None), torch.ones(2), torch.zeros(2, 1))
