"""Times follow their laws, weightings are the published ones, and the exact denoiser is what the loss asks for."""

import math

import pytest
import torch
from scipy import stats

from multidiff.diffusion.denoiser import NetworkDenoiser, levels
from multidiff.diffusion.losses import (
    DiffusionLoss,
    EDMWeighting,
    LogitNormal,
    LogNormalSigma,
    MinSNR,
    SigmoidWeighting,
    Stratified,
    Uniform,
    UniformWeighting,
)
from multidiff.diffusion.predictions import EDM, Epsilon, Flow, Sample, Velocity
from multidiff.diffusion.schedules import Cosine, Karras

from .conftest import mixture_of

DISTRIBUTIONS = [Uniform(), LogitNormal(0.2, 0.8), LogNormalSigma(-1.2, 1.2), Stratified(), Stratified(LogitNormal())]
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
def test_times_follow_their_law(distribution, to_normal):
    t = distribution.sample(Karras(), 20_000, generator()).double()
    assert stats.kstest(to_normal(t).numpy(), "norm").pvalue > 1e-3


def test_stratified_puts_one_time_in_each_stratum():
    t = Stratified().sample(Cosine(), 64, generator())
    assert sorted((t * 64).long().tolist()) == list(range(64))
    assert not (t.diff() > 0).all()


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=name)
def test_times_stay_inside_and_repeat_with_the_generator(schedule, distribution):
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
    """The loss of any wrong output is the published weight times the squared error of the x0 that it stands for."""
    x0, noise, wrong = torch.randn(3, 19, 4, generator=generator(), dtype=torch.float64)
    t = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    a, s = levels(schedule, t, x0)
    network = Constant(prediction.target(x0, noise, a, s) + wrong)
    denoiser = NetworkDenoiser(network, schedule, prediction)
    error = (denoiser(a * x0 + s * noise, t) - x0).square().mean(1)
    loss = DiffusionLoss(Uniform(), weighting).at(denoiser, x0, noise, t, None)
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
    loss = DiffusionLoss(Stratified(), weighting)(denoiser, torch.ones(4096, 3), None, generator())
    assert loss.shape == (4096,)
    assert loss.isfinite().all()


def test_unit_weight_of_edm_is_uniform():
    t = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    schedule, prediction = Karras(), EDM(sigma_data=0.5)
    gain = prediction.gain(schedule.alpha(t), schedule.sigma(t))
    torch.testing.assert_close(EDMWeighting(0.5)(schedule.log_snr(t), gain), torch.ones_like(t))


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=name)
def test_the_posterior_mean_minimises_the_loss(prediction):
    """On the mixture, the exact denoiser's loss rises when it is moved either way: by 1% of a standard deviation, same
    noise, 20,000 samples, so that the second-order rise of 1e-4 is the whole difference up to 4 standard errors."""
    schedule, count = Cosine(), 20_000
    mixture = mixture_of(schedule)
    random = generator()
    component = torch.multinomial(mixture.weights, count, replacement=True, generator=random)
    x0 = mixture.means[component] + mixture.stds[component, None] * torch.randn(
        count, 2, generator=random, dtype=torch.float64
    )
    noise = torch.randn(count, 2, generator=random, dtype=torch.float64)
    t = torch.full((count,), 0.5, dtype=torch.float64)
    a, s = levels(schedule, t, x0)
    exact = mixture(a * x0 + s * noise, t)
    output = prediction.target(exact, (a * x0 + s * noise - a * exact) / s, a, s)
    loss = DiffusionLoss(Uniform(), UniformWeighting())

    def losses(shift):
        return loss.at(NetworkDenoiser(Constant(output + shift), schedule, prediction), x0, noise, t, None)

    best = losses(0.0)
    for shift in (0.01, -0.01):
        rise = losses(shift) - best
        assert abs(rise.mean() - shift**2) < 4 * rise.std() / math.sqrt(count)
