"""Every guidance rule has a closed form on Gaussians, a neutral setting, and a known number of evaluations."""

import math
from collections import deque
from functools import partial
from itertools import pairwise

import pytest
import torch

from multidiff.diffusion.conditioning import Conditioning, concatenate
from multidiff.diffusion.denoiser import coefficients
from multidiff.diffusion.grids import KarrasRho, Uniform
from multidiff.diffusion.guidance import (
    AdaptiveProjectedGuidance,
    Autoguidance,
    CFGPlusPlus,
    ClassifierFreeGuidance,
    ComposedGuidance,
    PerpendicularNegativeGuidance,
    ScaleCurve,
)
from multidiff.diffusion.samplers import (
    DDIM,
    DDPM,
    LMS,
    Adaptive,
    Ancestral,
    DPMSolverMultistep,
    DPMSolverSinglestep,
    Euler,
    Heun,
    Midpoint,
    Restart,
    SASolver,
    UniPC,
    sample,
)
from multidiff.diffusion.samplers.noise_level import NoiseLevel, noise_estimate
from multidiff.diffusion.schedules import Cosine, LinearVP, RectifiedFlow
from multidiff.diffusion.thresholding import DynamicThresholding, StaticThresholding

from .gaussian import STD, Gaussian, means, noise

X = noise(3, 4).start()
T = torch.tensor(0.4, dtype=torch.float64)
COND = means([1, 0, 2, -1], [0, 1, 0.5, 3], [-2, 0.1, 1, 1])
OTHER = means([0.5, 0.5, -1, 0])
ONE_ESTIMATE = [Euler, DDIM, partial(DDIM, eta=0.5), DDPM, partial(Ancestral, method=Euler)]
TIMES = Cosine().time(torch.tensor([-2.0, 0.0, 2.0], dtype=torch.float64))


def guided_mean(denoiser, cond=COND):
    """The m for which the estimate is that of ``N(m, STD^2)``: a guided Gaussian is a Gaussian."""
    a, s = coefficients(Cosine(), T, X)
    gain = a * STD**2 / ((a * STD) ** 2 + s**2)
    return (denoiser(X, T, cond) - gain * X) / (1 - gain * a)


def same(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


def test_guidance_moves_the_mean_of_a_gaussian():
    same(guided_mean(ClassifierFreeGuidance(Gaussian(), 2.5)), 2.5 * COND.vector)
    away = ClassifierFreeGuidance(Gaussian(), 2.5, negative=OTHER)
    same(guided_mean(away), OTHER.vector + 2.5 * (COND.vector - OTHER.vector))
    for scale in (2.0, 1.0):
        several = ComposedGuidance(Gaussian(), scale, [OTHER, COND], [1.5, -0.5])
        same(guided_mean(several), (scale - 0.5) * COND.vector + 1.5 * OTHER.vector)


def test_samples_of_a_guided_gaussian_are_those_of_the_moved_gaussian():
    grid, seeds = KarrasRho()(Cosine(), 5), noise(3, 4)
    guided = sample(ClassifierFreeGuidance(Gaussian(), 3.0), seeds, Euler(Cosine()), grid, COND)
    same(guided, sample(Gaussian(), seeds, Euler(Cosine()), grid, Conditioning(3 * COND.vector)))


@pytest.mark.parametrize(
    "make",
    [
        lambda d: ClassifierFreeGuidance(d, 1.0, rescale=0.7, negative=OTHER),
        lambda d: AdaptiveProjectedGuidance(d, 1.0),
        lambda d: ComposedGuidance(d, 1.0, [OTHER], [0.0]),
        lambda d: PerpendicularNegativeGuidance(d, 1.0, [OTHER], [0.0]),
        lambda d: Autoguidance(d, Gaussian(), 1.0),
        lambda d: ClassifierFreeGuidance(d, 9.0, interval=(5.0, 6.0)),
        lambda d: ComposedGuidance(d, 9.0, [OTHER], [1.0], interval=(5.0, 6.0)),
    ],
)
def test_off_is_the_conditional_estimate_without_extra_evaluations(make):
    inner = Gaussian()
    assert torch.equal(make(inner)(X, T, COND), Gaussian()(X, T, COND))
    assert inner.rows == [3]


@pytest.mark.parametrize("t", [T, torch.tensor([0.2, 0.4, 0.6]).double()])
def test_all_conditions_share_one_batch(t):
    for make, rows in (
        (lambda d: ClassifierFreeGuidance(d, 2.0, negative=OTHER), 6),
        (lambda d: PerpendicularNegativeGuidance(d, 2.0, [OTHER, COND], [1.0, 1.0]), 12),
    ):
        inner = Gaussian()
        make(inner)(X, t, COND)
        assert inner.rows == [rows]


def test_only_samples_inside_the_interval_are_evaluated_twice():
    inner, weak = Gaussian(), Gaussian(std=1.0)
    guided = ClassifierFreeGuidance(inner, 3.0, interval=(-1.0, 1.0))(X, TIMES, COND)
    assert inner.rows == [4]
    inside = torch.tensor([False, True, False])[:, None]
    everywhere = ClassifierFreeGuidance(Gaussian(), 3.0)(X, TIMES, COND)
    assert torch.equal(guided, torch.where(inside, everywhere, Gaussian()(X, TIMES, COND)))
    Autoguidance(inner, weak, 3.0, interval=(-1.0, 1.0))(X, TIMES, COND)
    assert (inner.rows, weak.rows) == ([4, 3], [1])


def test_an_interval_counts_over_a_whole_sampling():
    inner, grid = Gaussian(), Uniform()(Cosine(), 20)
    log_snr = Cosine().log_snr(grid[:-1])
    guided = ClassifierFreeGuidance(inner, 3.0, interval=(-1.0, 1.0))
    sample(guided, noise(3, 4), Euler(Cosine()), grid, COND)
    assert inner.rows == [6 if -1 <= level < 1 else 3 for level in log_snr]


def test_a_scale_may_follow_the_noise_level():
    curve = ScaleCurve([-2.0, 2.0], [1.0, 5.0])
    same(curve(torch.tensor([-math.inf, -2, -1, 0, 2, math.inf])), torch.tensor([1.0, 1, 2, 3, 5, 5]))
    guided = ClassifierFreeGuidance(Gaussian(), curve)(X, TIMES, COND)
    for i, scale in enumerate((1.0, 3.0, 5.0)):
        same(guided[i], ClassifierFreeGuidance(Gaussian(), scale)(X, TIMES, COND)[i])


def test_rescaling_gives_the_contrast_of_the_conditional_estimate():
    plain = ClassifierFreeGuidance(Gaussian(), 4.0)(X, T, COND)
    whole = ClassifierFreeGuidance(Gaussian(), 4.0, rescale=1.0)(X, T, COND)
    half = ClassifierFreeGuidance(Gaussian(), 4.0, rescale=0.5)(X, T, COND)
    same(whole.std(1), Gaussian()(X, T, COND).std(1))
    same(half, (plain + whole) / 2)
    assert torch.equal(ClassifierFreeGuidance(Gaussian(), 4.0, rescale=0.0)(X, T, COND), plain)


def test_projected_guidance_without_projection_is_classifier_free():
    neutral = AdaptiveProjectedGuidance(Gaussian(), 4.0, parallel=1.0)
    same(neutral(X, T, COND), ClassifierFreeGuidance(Gaussian(), 4.0)(X, T, COND))


def test_projected_guidance_is_perpendicular_to_the_estimate_and_limited():
    conditional = Gaussian()(X, T, COND)
    added = AdaptiveProjectedGuidance(Gaussian(), 4.0)(X, T, COND) - conditional
    same((added * conditional).sum(1), torch.zeros(3).double())
    limited = AdaptiveProjectedGuidance(Gaussian(), 4.0, parallel=1.0, limit=0.1)(X, T, COND) - conditional
    same(limited.norm(dim=1), torch.full((3,), 0.3, dtype=torch.float64))


def test_a_parallel_negative_has_no_effect_and_a_perpendicular_one_its_full_effect():
    cond = means([2.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 0, 3.0])
    parallel = PerpendicularNegativeGuidance(Gaussian(), 2.0, [Conditioning(-3 * cond.vector)], [1.0])
    same(guided_mean(parallel, cond), 2 * cond.vector)
    across = means([0, 0, 1.0, 0])
    away = PerpendicularNegativeGuidance(Gaussian(), 2.0, [across], [0.5])
    same(guided_mean(away, cond), 2 * (cond.vector - 0.5 * across.vector))


def test_autoguidance_extrapolates_from_the_weak_model_with_or_without_a_condition():
    strong, weak = Gaussian(), Gaussian(std=1.0)
    same(Autoguidance(strong, strong, 3.0)(X, T, COND), strong(X, T, COND))
    for cond in (COND, None):
        expected = weak(X, T, cond) + 3 * (strong(X, T, cond) - weak(X, T, cond))
        same(Autoguidance(strong, weak, 3.0)(X, T, cond), expected)


def test_autoguidance_refuses_a_model_of_other_noise_levels():
    with pytest.raises(ValueError, match="schedules of the weak and the strong model differ"):
        Autoguidance(Gaussian(), Gaussian(LinearVP()), 2.0)


@pytest.mark.parametrize("schedule", [Cosine(), LinearVP(), RectifiedFlow()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("strength", [0.0, 0.4, 1.0])
def test_cfg_plus_plus_renoises_with_the_unconditional_noise(schedule, strength):
    """Algorithm 2 of the paper equals Euler with the equivalent guidance scale."""
    denoiser, grid = Gaussian(schedule), Uniform()(schedule, 6)
    x = noise(3, 4).start() * schedule.sigma(grid[0])
    for t, s in pairwise(grid):
        conditional, null = denoiser(x, t, COND), denoiser(x, t)
        guided = null + strength * (conditional - null)
        x = schedule.alpha(s) * guided + schedule.sigma(s) * noise_estimate(x, null, NoiseLevel.at(schedule, t))
    scaled = ClassifierFreeGuidance(denoiser, CFGPlusPlus(Euler(schedule), grid, strength))
    same(sample(scaled, noise(3, 4), Euler(schedule), grid, COND), x)


@pytest.mark.parametrize("make", ONE_ESTIMATE, ids=repr)
def test_cfg_plus_plus_adds_to_the_unconditional_step_of_any_sampler_of_one_estimate(make):
    """Also of ancestral samplers, whose noise does not depend on guidance."""
    schedule, denoiser = LinearVP(), Gaussian(LinearVP())
    sampler, grid, source = make(schedule), KarrasRho()(schedule, 6), noise(3, 4)
    x = source.start() * schedule.sigma(grid[0])
    for t, s in pairwise(grid):
        direction = denoiser(x, t, COND) - denoiser(x, t)
        x = sampler.step(denoiser, x, t, s, deque(), source) + 0.4 * schedule.alpha(s) * direction
    scaled = ClassifierFreeGuidance(denoiser, CFGPlusPlus(sampler, grid, 0.4))
    same(sample(scaled, source, sampler, grid, COND), x)


@pytest.mark.parametrize(
    "make", [Heun, Midpoint, Adaptive, Restart, LMS, DPMSolverSinglestep, DPMSolverMultistep, UniPC, SASolver]
)
def test_cfg_plus_plus_refuses_samplers_of_several_estimates(make):
    with pytest.raises(ValueError, match=f"one estimate per step and no history .* got {make.__name__}"):
        CFGPlusPlus(make(Cosine()), Uniform()(Cosine(), 6), 0.5)


def test_cfg_plus_plus_has_no_scale_off_its_grid():
    scale = CFGPlusPlus(Euler(Cosine()), Uniform()(Cosine(), 6), 0.5)
    with pytest.raises(ValueError, match="not on its grid"):
        sample(ClassifierFreeGuidance(Gaussian(), scale), noise(3, 4), Midpoint(Cosine()), scale.grid, COND)


def test_static_thresholding_clips():
    estimate = Gaussian()(X, T, COND)
    cut = StaticThresholding(Gaussian(), 0.5)(X, T, COND)
    assert torch.equal(cut, estimate.clamp(-0.5, 0.5))


def test_dynamic_thresholding_rescales_only_estimates_beyond_the_limit():
    estimate = Gaussian()(X, T, COND)
    largest = estimate.abs().amax(1, keepdim=True)
    assert torch.equal(DynamicThresholding(Gaussian(), limit=largest.max().item())(X, T, COND), estimate)
    same(DynamicThresholding(Gaussian(), 0.1, fraction=1.0)(X, T, COND), 0.1 * estimate / largest)
    three_of_four = estimate.abs().sort(1).values[:, 2:3]
    cut = DynamicThresholding(Gaussian(), 0.1, fraction=0.7)(X, T, COND)
    same(cut, 0.1 * (estimate / three_of_four).clamp(-1, 1))


def test_guidance_nests():
    nested = StaticThresholding(Autoguidance(ClassifierFreeGuidance(Gaussian(), 2.0), Gaussian(std=1.0), 1.5), 3.0)
    assert nested(X, T, COND).abs().max() <= 3


def test_shorter_prompts_are_padded():
    short, long = (Conditioning(tokens=torch.ones(1, n, 2), mask=torch.ones(1, n, dtype=torch.bool)) for n in (1, 3))
    both = concatenate(short, long)
    assert both.mask.tolist() == [[True, False, False], [True] * 3]
    assert both.tokens[0].tolist() == [[1, 1], [0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda d: ClassifierFreeGuidance(d, 2.0, rescale=1.5), "rescale"),
        (lambda d: ClassifierFreeGuidance(d, 2.0, interval=(1.0, -1.0)), "interval"),
        (lambda d: AdaptiveProjectedGuidance(d, 2.0, limit=0.0), "limit"),
        (lambda d: ComposedGuidance(d, 2.0, [OTHER], []), "weight"),
        (lambda d: ScaleCurve([1.0, 0.0], [1.0, 2.0]), "increasing"),
        (lambda d: CFGPlusPlus(Euler(d.schedule), Uniform()(d.schedule, 3), 7.5), "strength of CFG"),
        (lambda d: StaticThresholding(d, 0.0), "limit"),
        (lambda d: DynamicThresholding(d, fraction=0.0), "fraction"),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(Gaussian())


def test_a_curve_of_one_point_is_constant_and_one_of_none_is_refused():
    log_snr = torch.linspace(-3, 3, 5)
    torch.testing.assert_close(ScaleCurve([0.0], [2.0])(log_snr), torch.full_like(log_snr, 2.0))
    with pytest.raises(ValueError, match="a scale for each"):
        ScaleCurve([], [])
