"""Image to image, inpainting, and interpolation between seeds."""

import math

import pytest
import torch

from multidiff.diffusion.denoiser import Denoiser
from multidiff.diffusion.editing import Edit, Inpaint, MixedNoise, Resampled
from multidiff.diffusion.grids import KarrasRho, Uniform
from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.samplers import DDPM, DPMSolverMultistep, Euler, Heun, SASolver, UniPC, sample
from multidiff.diffusion.schedules import Cosine, Karras, RectifiedFlow

from .conftest import mixture_of
from .gaussian import Gaussian, noise

X0 = torch.tensor([1.5, -0.5], dtype=torch.float64)


@pytest.mark.parametrize("method", [Euler, DPMSolverMultistep, DDPM, UniPC])
@pytest.mark.parametrize("schedule", [Cosine(), RectifiedFlow()], ids=lambda s: type(s).__name__)
def test_strength_1_is_sampling_where_the_schedule_keeps_nothing(schedule, method):
    setting = (mixture_of(schedule), noise(5, 2), method(schedule), Uniform()(schedule, 6))
    assert torch.equal(Edit(X0, 1.0)(*setting), sample(*setting))


def test_strength_near_0_returns_the_sample(schedule):
    strength = 1e-4
    noisiest = schedule.sigma(torch.tensor(strength, dtype=torch.float64)).item()
    edited = Edit(X0, strength)(mixture_of(schedule), noise(5, 2), Euler(schedule), Uniform()(schedule, 6))
    assert (edited - X0).abs().max() < 6 * noisiest


def test_strength_is_the_remaining_fraction_of_the_grid():
    denoiser = Gaussian()
    grid = Uniform()(Cosine(), 10)
    for strength, evaluations in ((1.0, 10), (0.6, 6), (0.6 + 1e-6, 6), (0.55, 6), (0.1, 1), (0.05, 1)):
        denoiser.rows.clear()
        Edit(X0, strength)(denoiser, noise(3, 2), Euler(Cosine()), grid)
        assert denoiser.rows == [3] * evaluations


class Correlated(Denoiser):
    """The exact denoiser of a Gaussian with a covariance, samples ``(B, D)``."""

    def __init__(self, schedule, mean, covariance):
        super().__init__()
        self.schedule, self.mean, self.covariance = schedule, mean, covariance

    def forward(self, x_t, t, cond=None):
        a, s = self.schedule.alpha(t), self.schedule.sigma(t)
        spread = a**2 * self.covariance + s**2 * torch.eye(len(self.mean)).to(x_t)
        return self.mean + (x_t - a * self.mean) @ torch.linalg.solve(spread, a * self.covariance)


class ZeroNoise(NoiseSource):
    """Zero noise: a sampler that is affine in its noise then returns its mean."""

    def start(self):
        return torch.zeros(len(self.keys), *self.size, dtype=self.dtype)

    def between(self, t, s):
        return self.start()


MEAN = torch.tensor([0.5, -0.2, 0.1], dtype=torch.float64)
COVARIANCE = torch.tensor([[1.0, 0.8, 0.3], [0.8, 1.0, 0.1], [0.3, 0.1, 0.6]], dtype=torch.float64)
KNOWN = torch.tensor([1.5, 7.0, 7.0], dtype=torch.float64)
MASK = torch.tensor([False, True, True])


@pytest.mark.parametrize(
    ("schedule", "method"),
    [
        (Cosine(), Euler),
        (Cosine(), DDPM),
        pytest.param(Karras(), DPMSolverMultistep, marks=pytest.mark.slow),
        pytest.param(Karras(), UniPC, marks=pytest.mark.slow),
        pytest.param(Cosine(), SASolver, marks=pytest.mark.slow),
    ],
)
def test_inpainting_a_gaussian_comes_to_the_conditional_mean(schedule, method):
    """The distance from the equilibrium at each noise level falls as 1 / repeats, so two values give the limit.

    The first term is below 1 / repeats, and the next is of second order in 1 / repeats.
    """
    denoiser, zero_noise = Correlated(schedule, MEAN, COVARIANCE), ZeroNoise([0], (3,), torch.float64)
    grid = KarrasRho()(schedule, 20)
    few, many = (Inpaint(KNOWN, MASK, r)(denoiser, zero_noise, method(schedule), grid) for r in (20, 80))
    expected = MEAN[1:] + COVARIANCE[1:, 0] / COVARIANCE[0, 0] * (KNOWN[0] - MEAN[0])
    assert (many[0, 1:] - expected).abs().max() < 1 / 80
    assert ((80 * many - 20 * few)[0, 1:] / 60 - expected).abs().max() < 1 / 20**2


@pytest.mark.parametrize("method", [Euler, DPMSolverMultistep, DDPM, UniPC, SASolver])
def test_inpainting_keeps_the_known_part_exactly_and_ignores_the_rest(schedule, method):
    denoiser = Correlated(schedule, MEAN, COVARIANCE)
    grid = KarrasRho()(schedule, 5)
    made = Inpaint(KNOWN, MASK, 3)(denoiser, noise(4, 3), method(schedule), grid)
    assert torch.equal(made[:, 0], KNOWN[0].expand(4))
    assert made.isfinite().all()
    other = Inpaint(torch.where(MASK, -9.0, KNOWN), MASK, 3)(denoiser, noise(4, 3), method(schedule), grid)
    assert torch.equal(other, made)


def test_a_mask_of_everything_without_resampling_is_sampling_and_below_full_strength_an_edit():
    setting = (mixture_of(Cosine()), noise(5, 2), DDPM(Cosine()), Uniform()(Cosine(), 6))
    assert torch.equal(Inpaint(X0, torch.tensor(True), 1)(*setting), sample(*setting))
    assert torch.equal(Inpaint(X0, torch.tensor(True), 1, strength=0.6)(*setting), Edit(X0, 0.6)(*setting))


def test_resampling_takes_the_declared_evaluations():
    denoiser, sampler = Gaussian(), Resampled(Euler(Cosine()), 4)
    sample(denoiser, noise(2, 3), sampler, Uniform()(Cosine(), 6))
    assert len(denoiser.rows) == 5 * sampler.evaluations + 1


def test_resampling_a_gaussian_keeps_its_variance():
    """With an exact reverse step, resampling preserves the distribution; DDPM's is exact in the limit of many steps."""
    x = sample(Gaussian(), noise(4_000, 1), Resampled(DDPM(Cosine()), 2), Uniform()(Cosine(), 30))
    plain = sample(Gaussian(), noise(4_000, 1), DDPM(Cosine()), Uniform()(Cosine(), 30))
    assert abs(x.std() / plain.std() - 1) < 4 / math.sqrt(2 * 4_000) + 1 / 30


def test_resampling_keeps_the_order_of_samplers_without_history():
    orders = [Resampled(method(Cosine()), n).order for method in (DPMSolverMultistep, Heun) for n in (1, 2)]
    assert orders == [2, 1, 2, 2]


def test_mixed_noise_is_exact_at_its_ends_and_standard_normal():
    count = 40_000
    part = torch.linspace(0, 1, 5, dtype=torch.float64)
    a, b = noise(5, count), noise(5, count, seed=5)
    mixed = MixedNoise(a, b, part.tolist())
    assert torch.equal(mixed.start()[0], a.start()[0])
    torch.testing.assert_close(mixed.start()[4], b.start()[4], rtol=0, atol=1e-15)
    t, s = torch.tensor([0.6, 0.4], dtype=torch.float64)
    for values in (mixed.start(), mixed.between(t, s), mixed.branch(1).start()):
        assert ((values.square().mean(1) - 1).abs() < 4 * math.sqrt(2 / count)).all()
    correlation = (mixed.start() * a.start()).mean(1)
    assert ((correlation - torch.cos(part * math.pi / 2)).abs() < 4 * math.sqrt(2 / count)).all()
    assert ((mixed.branch(1).start() * mixed.start()).mean(1).abs() < 4 / math.sqrt(count)).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Edit(X0, 0.0), "strength"),
        (lambda: Edit(X0, 1.1), "strength"),
        (lambda: Inpaint(X0, torch.tensor(True), 0), "at least 1"),
        (lambda: Inpaint(X0, torch.tensor(True), 1.5), "repeats must be an integer"),
        (lambda: Inpaint(X0, torch.tensor(1.0)), "the mask must be boolean, got torch.float32"),
        (lambda: MixedNoise(noise(1, 2), noise(1, 2, seed=1), [1.5]), "in \\[0, 1\\]"),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
