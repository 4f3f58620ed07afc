"""The Fréchet distance equals that of Gaussians, in batches of any size; its extrapolation removes the bias."""

import pytest
import torch
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from multidiff.evaluation.frechet import FrechetDistance, Moments


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(dimensions, seed=0):
    return torch.linalg.qr(normal(dimensions, dimensions, seed=seed)).Q


def gaussian(mean, variances, axes):
    return Moments(2, mean, axes @ torch.diag(variances) @ axes.T)


def distance(x, y):
    return FrechetDistance(Moments.of([y]))(Moments.of([x]))


@pytest.mark.parametrize("dimensions", [1, 2, 16])
def test_it_is_the_closed_form_for_gaussians_with_common_axes(dimensions):
    """``|m - m'|^2 + sum (s - s')^2`` over the standard deviations along the axes."""
    axes = rotation(dimensions)
    means, variances = normal(2, dimensions, seed=1), normal(2, dimensions, seed=2).square()
    a, b = (gaussian(mean, variance, axes) for mean, variance in zip(means, variances, strict=True))
    expected = (means[0] - means[1]).square().sum() + (variances[0].sqrt() - variances[1].sqrt()).square().sum()
    assert FrechetDistance(a)(b) == pytest.approx(float(expected))


def test_it_is_symmetric_and_zero_only_for_equal_moments():
    a, b = (Moments.of([normal(50, 8, seed=seed) * (1 + seed)]) for seed in (0, 1))
    assert FrechetDistance(a)(b) == pytest.approx(FrechetDistance(b)(a))
    assert FrechetDistance(a)(a) == pytest.approx(0, abs=1e-10)
    assert FrechetDistance(a)(b) > 1


def test_covariances_may_be_singular():
    x, y = normal(5, 32), normal(6, 32, seed=1)
    assert distance(x, y) > 1
    assert distance(x, x) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("dimensions", [4, 64])
def test_it_is_torch_fidelitys_on_the_same_features(dimensions):
    x, y = normal(500, dimensions).exp(), normal(700, dimensions, seed=1) + 0.3
    theirs = fid_statistics_to_metric(fid_features_to_statistics(x), fid_features_to_statistics(y), verbose=False)
    assert distance(x, y) == pytest.approx(theirs["frechet_inception_distance"], rel=1e-9)


@pytest.mark.parametrize("batch", [1, 7, 64, 256, 300, 1000])
def test_batches_change_no_digit(batch):
    features = 1000 + normal(1000, 8).float()
    whole, streamed = Moments.of([features]), Moments.of(features.split(batch))
    assert whole.count == streamed.count == 1000
    assert torch.equal(whole.mean, streamed.mean)
    assert torch.equal(whole.covariance, streamed.covariance)


def test_moments_far_from_zero_keep_their_digits():
    features = normal(400, 5)
    near, far = Moments.of([features]), Moments.of([features + 1e6])
    assert torch.allclose(near.covariance, torch.cov(features.T), rtol=1e-12)
    assert torch.allclose(far.covariance, near.covariance, rtol=1e-8)


def test_one_sample_has_no_covariance():
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        Moments.of([normal(1, 4)])


@pytest.mark.parametrize("count", [2, 5, 15])
def test_fewer_samples_than_dimensions_need_no_covariance(count):
    """The two formulas agree to the root of float64's precision, which is what singular covariances leave of it."""
    reference, samples = FrechetDistance(Moments.of([normal(50, 16, seed=1)])), normal(count, 16, seed=2) + 1
    assert reference.of_samples(samples) == pytest.approx(reference(Moments.of([samples])), abs=1e-6)


def test_the_extrapolation_removes_the_bias_of_few_samples():
    """Samples of the reference's own distribution: the true distance is 0."""
    reference = FrechetDistance(gaussian(torch.zeros(16).double(), torch.ones(16).double(), rotation(16)))
    plain, extrapolated = [], []
    for seed in range(10):
        features = normal(500, 16, seed=seed)
        plain.append(reference(Moments.of([features])))
        extrapolated.append(reference.extrapolated(features))
    bias, rest = (abs(sum(values) / len(values)) for values in (plain, extrapolated))
    assert bias > 0.1
    assert rest < bias / 5


def test_the_extrapolation_keeps_a_true_distance_and_is_reproducible():
    reference = FrechetDistance(gaussian(torch.zeros(4).double(), torch.ones(4).double(), rotation(4)))
    features = normal(2000, 4) + 1
    assert reference.extrapolated(features) == pytest.approx(4, rel=0.1)
    assert reference.extrapolated(features, seed=3) == reference.extrapolated(features, seed=3)
