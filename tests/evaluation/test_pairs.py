"""Scores of two sets from their distances, against brute force and against their expected values."""

import numpy as np
import pytest

from multidiff.evaluation.pairs import Pairs, two_set_scores


def distances(points):
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


def points(count, seed=0, shift=0.0):
    return np.random.default_rng(seed).normal(shift, size=(count, 3))


@pytest.mark.parametrize("looseness", [0.0, 0.3, 1.0])
def test_bounds_change_no_neighbour_and_save_distances(looseness):
    exact = distances(points(40))
    computed = []
    pairs = Pairs(exact * (1 - looseness), lambda i, j: computed.append((i, j)) or exact[i, j])
    hidden = exact + np.diag(np.full(40, np.inf))
    for i in range(40):
        assert pairs.nearest(i, range(40)) == (hidden[i].argmin(), hidden[i].min())
    assert len(computed) == len(set(computed)) <= 40 * 39 / 2  # none twice: distances are symmetric
    if looseness < 1:
        assert len(computed) < 40 * 39 / 4


def test_scores_equal_their_definitions():
    generated, real = points(12), points(12, seed=1)
    table = distances(np.vstack([generated, real]))
    scores = two_set_scores(Pairs(table), range(12), range(12, 24))
    between, others = table[:12, 12:], table + np.diag(np.full(24, np.inf))
    assert scores["1nna"] == np.mean((others.argmin(axis=1) < 12) == (np.arange(24) < 12))
    assert scores["coverage"] == len(set(between.argmin(axis=1))) / 12
    assert scores["mmd"] == pytest.approx(between.min(axis=0).mean())


def test_1nna_of_equal_distributions_is_about_half():
    """Each of 2n samples has n of 2n - 1 others in the other set, so the mean is (n - 1) / (2n - 1)."""
    n, draws = 20, 200
    found = [
        two_set_scores(Pairs(distances(points(2 * n, seed))), range(n), range(n, 2 * n))["1nna"]
        for seed in range(draws)
    ]
    error = np.std(found) / draws**0.5
    assert abs(np.mean(found) - (n - 1) / (2 * n - 1)) < 4 * error
    assert error < 0.01


def test_separate_sets_have_1nna_of_one():
    table = distances(np.vstack([points(10), points(10, seed=1, shift=50)]))
    scores = two_set_scores(Pairs(table), range(10), range(10, 20))
    assert scores["1nna"] == 1
    assert scores["mmd"] > 50


def test_copies_of_one_sample_cover_one():
    real = points(8)
    table = distances(np.vstack([np.repeat(real[:1], 8, axis=0), real]))
    assert two_set_scores(Pairs(table), range(8), range(8, 16))["coverage"] == 1 / 8
