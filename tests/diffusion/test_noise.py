"""Noise is standard normal, and belongs to (seed, step, position) alone."""

import numpy as np
import pytest
import torch
from scipy import stats

from multidiff.diffusion.noise import NoiseSource, sample_seeds

T, S = torch.tensor(0.5, dtype=torch.float64), torch.tensor(0.25, dtype=torch.float64)


@pytest.mark.parametrize("draw", [NoiseSource.start, lambda source: source.between(T, S)])
def test_a_sample_keeps_its_noise_in_any_batch(draw):
    many = draw(NoiseSource(sample_seeds(7, 0, 64), (3, 5, 5)))
    shuffled = draw(NoiseSource(list(reversed(sample_seeds(7, 0, 64))), (3, 5, 5)))
    alone = draw(NoiseSource(sample_seeds(7, 9, 10), (3, 5, 5)))
    assert torch.equal(many.flip(0), shuffled)
    assert torch.equal(many[9], alone[0])


def test_sample_seeds_extend_one_another_and_differ():
    seeds = sample_seeds(0, 0, 10000)
    assert sample_seeds(0, 4, 8) == seeds[4:8]
    assert len(set(seeds)) == 10000
    assert not set(seeds) & set(sample_seeds(1, 0, 10000))


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


def test_large_and_negative_seeds_are_all_told_apart():
    """torch's own generators keep 32 bits of a seed; these are told apart by the others."""
    noise = NoiseSource([1, 1 + 2**32, 1 - 2**62, -1], (4,)).start()
    assert len(noise[:, 0].unique()) == 4


def test_dtype_is_a_rounding_of_the_same_numbers():
    single, double = (NoiseSource([3], (100,), dtype).start() for dtype in (torch.float32, torch.float64))
    assert torch.equal(single, double.float())
