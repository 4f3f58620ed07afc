"""The kernel distance is unbiased, its error is no underestimate, and it equals that of KID."""

import pytest
import torch
from scipy.stats import sem
from torch_fidelity.metric_kid import kernel_mmd

from multidiff.evaluation import kernel
from multidiff.evaluation.kernel import SUBSETS, Gaussian, KernelDistance, median_distance, polynomial, unbiased

KERNELS = [polynomial, Gaussian(2.0)]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("kernel", KERNELS)
def test_equal_distributions_are_at_zero_on_average(kernel):
    """Over many draws the mean lies within three of its standard errors of 0, and values fall on both sides."""
    draws = torch.tensor(
        [unbiased(normal(30, 4, seed=2 * s), normal(40, 4, seed=2 * s + 1), kernel) for s in range(400)]
    )
    assert abs(draws.mean()) < 3 * draws.std() / len(draws) ** 0.5
    assert (draws < 0).any()


@pytest.mark.parametrize("kernel", KERNELS)
def test_other_distributions_are_further_than_their_error(kernel):
    estimate = KernelDistance(normal(300, 4, seed=1) + 1, kernel)(normal(200, 4))
    assert estimate.value > 5 * estimate.error > 0


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_error_is_no_smaller_than_the_spread_over_draws(kernel):
    estimates = [KernelDistance(normal(100, 4, seed=s + 500) + 1, kernel)(normal(100, 4, seed=s)) for s in range(60)]
    spread = torch.tensor([estimate.value for estimate in estimates]).std()
    error = torch.tensor([estimate.error for estimate in estimates]).mean()
    assert 0.8 * spread < error < 2 * spread


def test_the_error_is_that_of_the_mean_over_subsets(monkeypatch):
    parts = iter(range(SUBSETS))
    monkeypatch.setattr(kernel, "unbiased", lambda *arguments: float(next(parts)))
    assert KernelDistance(normal(40, 2), polynomial)(normal(30, 2)).error == pytest.approx(sem(range(SUBSETS)))


def test_it_is_that_of_torch_fidelity():
    """Their distance of a subset, for one subset of all samples."""
    x, y = normal(120, 8), normal(120, 8, seed=1) + 0.2
    for ours, theirs in (
        (polynomial, {"kid_kernel": "poly", "kid_kernel_poly_degree": 3, "kid_kernel_poly_gamma": None}),
        (Gaussian(3.0), {"kid_kernel": "rbf", "kid_kernel_rbf_sigma": 3.0}),
    ):
        expected = kernel_mmd(x.numpy(), y.numpy(), **theirs, kid_kernel_poly_coef0=1)
        assert unbiased(x, y, ours) == pytest.approx(expected, rel=1e-9)


def test_blocks_change_nothing():
    """More rows than a block holds."""
    x, y = normal(2100, 3), normal(1500, 3, seed=1)
    between = polynomial(x, y).mean()
    within = [(polynomial(z, z).sum() - polynomial(z, z).diagonal().sum()) / (len(z) * (len(z) - 1)) for z in (x, y)]
    assert unbiased(x, y, polynomial) == pytest.approx(float(sum(within) - 2 * between), rel=1e-9)


def test_the_usual_width_is_the_median_distance():
    line = torch.tensor([[0.0], [1.0], [3.0]])
    assert median_distance(line) == 2
    assert median_distance(10 * line) == 20


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match="at least 20 samples, got 19"):
        KernelDistance(normal(100, 2), polynomial)(normal(2 * SUBSETS - 1, 2))


def test_the_part_of_the_reference_is_computed_once():
    """Values are those of `unbiased`, of each set in turn."""
    reference, calls = normal(40, 2), []

    def counted(x, y):
        calls.append(len(x) == len(y) == 40)
        return polynomial(x, y)

    distance = KernelDistance(reference, counted)
    sets = [normal(30, 2, seed=1), normal(50, 2, seed=2)]
    assert [distance(x).value for x in sets] == [unbiased(x, reference, polynomial) for x in sets]
    assert sum(calls) == 1
