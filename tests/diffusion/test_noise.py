"""Noise is standard normal, and a function of (seed, step, position) only."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats

from multidiff.diffusion.noise import BrownianPath, NoiseSource, fast_normal, sample_seeds

T, S = torch.tensor(0.5, dtype=torch.float64), torch.tensor(0.25, dtype=torch.float64)


@pytest.mark.parametrize("noise_of", [NoiseSource.start, lambda source: source.between(T, S)])
def test_a_sample_keeps_its_noise_in_any_batch(noise_of):
    many = noise_of(NoiseSource(sample_seeds(7, 0, 64), (3, 5, 5)))
    shuffled = noise_of(NoiseSource(list(reversed(sample_seeds(7, 0, 64))), (3, 5, 5)))
    alone = noise_of(NoiseSource(sample_seeds(7, 9, 10), (3, 5, 5)))
    assert torch.equal(many.flip(0), shuffled)
    assert torch.equal(many[9], alone[0])


def test_sample_seeds_depend_on_the_index_only_and_differ():
    seeds = sample_seeds(0, 0, 2000)
    assert sample_seeds(0, 4, 8) == seeds[4:8]
    assert len(set(seeds)) == 2000
    assert not set(seeds) & set(sample_seeds(1, 0, 2000))


def test_noise_is_standard_normal():
    """Kolmogorov-Smirnov on a million numbers, mean and variance within 4 standard errors."""
    x = NoiseSource([0, 1, 2, 3], (250_000,), torch.float64).start().flatten().numpy()
    assert stats.kstest(x, "norm").pvalue > 1e-3
    assert abs(x.mean()) < 4e-3
    assert abs(x.var() - 1) < 4e-3 * np.sqrt(2)


def test_neighbours_seeds_and_steps_are_independent():
    """Each correlation of n = 200,000 pairs is within 4 / sqrt(n)."""
    source = NoiseSource([0, 1], (200_000,), torch.float64)
    start, step, back = source.start(), source.between(T, S), source.between(S, T)
    pairs = [
        (start[0], start[1]),
        (start[0, 1:], start[0, :-1]),
        (start[0, :100_000], start[0, 100_000:]),
        (start[0], step[0]),
        (step[0], back[0]),
        (start[0] ** 2, step[1] ** 2),
    ]
    for one, other in pairs:
        assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(len(one))


def test_large_and_negative_seeds_give_different_noise():
    """These seeds differ only in the bits that torch's own generators discard."""
    noise = NoiseSource([1, 1 + 2**32, 1 - 2**62, -1], (4,)).start()
    assert len(noise[:, 0].unique()) == 4


def test_dtype_is_a_rounding_of_the_same_numbers():
    single, double = (NoiseSource([3], (100,), dtype).start() for dtype in (torch.float32, torch.float64))
    assert torch.equal(single, double.float())


TIMES = [torch.tensor(t, dtype=torch.float64) for t in (1.0, 0.83, 0.5, 0.31, 0.0213, 0.0019)]


def test_steps_of_any_length_follow_one_path():
    """The increments of the parts add up to that of the whole."""
    source = NoiseSource(range(3), (4, 5), torch.float64)
    parts = sum(torch.sqrt(t - s) * source.between(t, s) for t, s in pairwise(TIMES))
    whole = torch.sqrt(TIMES[0] - TIMES[-1]) * NoiseSource(range(3), (4, 5), torch.float64).between(TIMES[0], TIMES[-1])
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-12)


def test_the_path_does_not_depend_on_earlier_calls():
    fresh = [NoiseSource([1], (7,)).between(t, s) for t, s in pairwise(TIMES)]
    source = NoiseSource([1], (7,))
    source.between(TIMES[-1], TIMES[0])
    for (t, s), alone in list(zip(pairwise(TIMES), fresh, strict=True))[::-1]:
        assert torch.equal(source.between(t, s), alone)


@pytest.mark.parametrize("times", [torch.linspace(1, 0, 301).double(), torch.linspace(1, 0, 31).double() ** 4])
def test_steps_are_independent_and_standard_normal(times):
    """Variances and correlations of 100,000 numbers, each within 5 standard errors."""
    source = NoiseSource([5], (100_000,), torch.float64)
    steps = torch.stack([source.between(t, s)[0] for t, s in list(pairwise(times))[-30:]])
    covariance = steps @ steps.T / 100_000
    error = (covariance - torch.eye(len(steps), dtype=torch.float64)).abs()
    assert (error.diagonal() < 5 * (2 / 100_000) ** 0.5).all()
    assert (error - error.diagonal().diag() < 5 / 100_000**0.5).all()


def test_very_short_steps_are_standard_normal():
    source = NoiseSource([5], (100_000,), torch.float64)
    step = source.between(torch.tensor(0.70001, dtype=torch.float64), torch.tensor(0.70000, dtype=torch.float64))
    assert abs(step.var() - 1) < 5 * (2 / 100_000) ** 0.5


def test_branches_are_independent():
    source = NoiseSource([5], (200_000,), torch.float64)
    sources = [source, source.branch(0.5), source.branch(0.5, 1), source.branch(1, 0.5), source.branch(0.5).branch(2)]
    noise = torch.cat([source.between(T, S) for source in sources])
    correlation = np.corrcoef(noise) - np.eye(len(sources))
    assert abs(correlation).max() < 4 / np.sqrt(200_000)
    assert torch.equal(source.branch(0.5).between(T, S), noise[1:2])


def test_fast_normals_are_normal_and_independent_across_keys_and_places():
    """Distribution and correlations for 20 neighbouring keys at 100,000 places, and for 20 places with 100,000 keys.

    All statistics of the values and of their squares are within 5 standard errors.
    """
    keys = torch.arange(100_000)
    places = BrownianPath(keys[:1], 100_000, torch.float32).places
    for normal in (fast_normal(keys[:20], places), fast_normal(keys, places[:20]).T.contiguous()):
        assert stats.kstest(normal[0].numpy(), "norm").pvalue > 1e-3
        for value in (normal, (normal**2 - 1) / 2**0.5):
            correlation = value @ value.T / 100_000 - torch.eye(20)
            variance = 2 if value is normal else 14  # of the square of a normal value, and of that of its square
            assert (correlation.diagonal().abs() < 5 * (variance / 100_000) ** 0.5).all()
            assert (correlation - correlation.diagonal().diag()).abs().max() < 5 / 100_000**0.5
