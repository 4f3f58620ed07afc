"""Precision, recall, density, coverage and diversity on sets with known scores."""

import pytest
import torch
from torch_fidelity.metric_prc import calculate_precision_recall_full

from multidiff.evaluation import manifold
from multidiff.evaluation.diversity import vendi_score
from multidiff.evaluation.manifold import Balls
from multidiff.evaluation.neighbours import nearest, neighbour_distances


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def two_modes(count):
    """Two clouds, 100 apart."""
    return torch.cat([normal(count, 3), normal(count, 3, seed=1) + 100])


def test_the_same_samples_are_perfect():
    x = normal(100, 4)
    assert Balls(x).precision_recall(x) == (1, 1)
    assert Balls(x).density_coverage(x)[1] == 1


def test_sets_far_apart_share_nothing():
    x, y = normal(50, 4), normal(50, 4, seed=1) + 1000
    assert Balls(y).precision_recall(x) == (0, 0)
    assert Balls(y).density_coverage(x) == (0, 0)


def test_a_missing_mode_lowers_recall_alone():
    """Samples of one of two modes: all are realistic, and half of the real ones are missed."""
    real, generated = two_modes(200), normal(200, 3, seed=2)
    precision, recall = Balls(real).precision_recall(generated)
    density, coverage = Balls(real).density_coverage(generated)
    assert precision > 0.9
    assert 0.4 < recall <= 0.5
    assert density > 0.9
    assert 0.4 < coverage <= 0.5


def test_a_spurious_mode_lowers_precision_alone():
    real, generated = normal(200, 3, seed=2), two_modes(200)
    precision, recall = Balls(real).precision_recall(generated)
    density, coverage = Balls(real).density_coverage(generated)
    assert 0.4 < precision <= 0.5
    assert recall > 0.9
    assert density < 0.6
    assert coverage > 0.9


def test_an_outlier_changes_precision_but_not_density():
    """The ball of one real outlier contains everything; density and coverage are designed for this case."""
    real = torch.cat([normal(100, 2), torch.full((1, 2), 100.0, dtype=torch.float64)])
    generated = 50 + normal(100, 2, seed=1)
    assert Balls(real).precision_recall(generated)[0] == 1
    density, coverage = Balls(real).density_coverage(generated)
    assert density == pytest.approx(1 / 5)
    assert coverage == pytest.approx(1 / 101)


def test_density_of_equal_distributions_is_about_one():
    densities = [Balls(normal(300, 2, seed=s + 100)).density_coverage(normal(300, 2, seed=s))[0] for s in range(10)]
    assert sum(densities) / 10 == pytest.approx(1, abs=0.05)


def test_the_neighbours_of_the_real_samples_are_found_once(monkeypatch):
    real, computed = normal(50, 2), []
    monkeypatch.setattr(
        manifold, "neighbour_distances", lambda x, k: computed.append(x is real) or neighbour_distances(x, k)
    )
    balls = Balls(real)
    scores = [(balls.precision_recall(normal(40, 2, seed=1)), balls.density_coverage(real)) for _ in range(2)]
    assert scores[0] == scores[1]
    assert sum(computed) == 1


def test_they_are_torch_fidelitys():
    x, y = normal(150, 5), 1.2 * normal(170, 5, seed=1) + 0.5
    assert Balls(y).precision_recall(x) == pytest.approx(calculate_precision_recall_full(x, y))


def test_neighbours_on_a_line():
    line = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    distance, index = nearest(torch.tensor([[2.5], [-1.0]]), line)
    assert distance.tolist() == [0.5, 1]
    assert index.tolist() == [2, 0]
    assert neighbour_distances(line, 2).tolist() == [[1, 3], [1, 2], [2, 3], [4, 6]]


def test_copies_are_at_exactly_zero():
    x = 1000 + normal(1500, 64)
    distance, index = nearest(x, x)
    assert not distance.any()
    assert torch.equal(index, torch.arange(1500))


def test_a_neighbour_must_exist():
    with pytest.raises(ValueError, match="more than 3 samples, got 3"):
        neighbour_distances(normal(3, 2), 3)


@pytest.mark.parametrize("kinds", [1, 2, 8])
def test_diversity_counts_kinds(kinds):
    """Copies of ``kinds`` samples at right angles to one another, as many of each."""
    features = torch.eye(8)[:kinds].repeat(300, 1)
    assert vendi_score(features) == pytest.approx(kinds)
    assert vendi_score(7 * features) == pytest.approx(kinds)


def test_diversity_is_the_entropy_of_the_samples_similarities():
    """The definition itself: the eigenvalues of the N x N matrix of cosines."""
    features = normal(40, 6)
    unit = features / features.norm(dim=1, keepdim=True)
    eigenvalues = torch.linalg.eigvalsh(unit @ unit.T / 40).clamp(min=1e-300)
    assert vendi_score(features) == pytest.approx(float((-eigenvalues * eigenvalues.log()).sum().exp()))
