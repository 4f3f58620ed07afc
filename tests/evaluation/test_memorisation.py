"""Copies of training samples are detected, and independent samples are not."""

import pytest
import torch
from torch_fidelity.metric_isc import isc_features_to_metric

from multidiff.evaluation.classification import accuracy, confusion, inception_score
from multidiff.evaluation.features import FeatureBatch
from multidiff.evaluation.memorisation import Memorisation
from multidiff.evaluation.scores import Comparison


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


TRAINING, HELD_OUT = normal(400, 6), normal(300, 6, seed=1)


def test_independent_samples_are_as_near_as_held_out_ones():
    memory = Memorisation.of(normal(400, 6, seed=2), TRAINING, HELD_OUT)
    assert memory.nearer == pytest.approx(0.5, abs=0.05)
    assert memory.suspicious < 0.03


def test_a_planted_training_sample_is_the_closest_pair():
    generated = normal(400, 6, seed=2)
    generated[123] = TRAINING[45]
    memory = Memorisation.of(generated, TRAINING, HELD_OUT)
    assert memory.closest(3)[0] == (123, 45)
    assert memory.distances[123] == 0
    assert memory.suspicious >= 1 / 400


def test_copies_are_detected():
    generated = TRAINING[:200] + 0.01 * normal(200, 6, seed=3)
    memory = Memorisation.of(generated, TRAINING, HELD_OUT)
    assert memory.nearer > 0.99
    assert memory.suspicious > 0.99
    assert memory.neighbours.tolist() == list(range(200))


def test_ties_count_for_half():
    memory = Memorisation.of(HELD_OUT, TRAINING, HELD_OUT)
    assert memory.nearer == pytest.approx(0.5)


def test_accuracy_and_confusion_count_requested_and_predicted_classes():
    requested, predicted = torch.tensor([0, 0, 1, 2, 2, 2]), torch.tensor([0, 1, 1, 2, 0, 2])
    assert accuracy(predicted, requested) == pytest.approx(4 / 6)
    assert confusion(predicted, requested, 3).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 2]]


def test_copies_are_found_by_fingerprints_where_there_are_any():
    """All have the same features; only equal fingerprints make a copy."""

    def batch(fingerprints):
        return FeatureBatch(TRAINING[:40], fingerprints=fingerprints)

    training, held_out, other = TRAINING[:40, :3], HELD_OUT[:40, :3], normal(40, 3, seed=4)
    comparison = Comparison(batch(training), None)
    assert comparison.memorisation(batch(other), batch(held_out)).distances.min() > 0
    assert not comparison.memorisation(batch(training), batch(held_out)).distances.any()


@pytest.mark.parametrize("kinds", [1, 3, 5])
def test_the_inception_score_of_certain_predictions_is_the_number_of_classes(kinds):
    probabilities = torch.eye(5)[:kinds].repeat(20, 1)
    assert inception_score(probabilities) == pytest.approx(kinds)
    assert inception_score(torch.full((20, 5), 0.2)) == pytest.approx(1)  # uniform predictions


def test_the_inception_score_is_that_of_torch_fidelity():
    logits = 3 * normal(200, 7)
    expected = isc_features_to_metric(logits, splits=1, shuffle=False)["inception_score_mean"]
    assert inception_score(logits.softmax(dim=1)) == pytest.approx(expected)
