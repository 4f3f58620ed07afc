"""Batches of samples of one shape: each holds one group, and an epoch holds every sample."""

import numpy as np

from multidiff.data.order import batched, in_turn

GROUPS = np.array([0, 1, 1, 2, 1, 0, 1, 1, 2])


def test_each_batch_has_one_group_and_an_epoch_has_every_sample():
    epochs = [batched(GROUPS, 2, np.random.default_rng(seed)) for seed in range(20)]
    for epoch in epochs:
        assert len(epoch) == 2 + 6 + 2  # the group of five fills its last batch with one that comes again
        assert set(epoch.tolist()) == set(range(len(GROUPS)))
        assert (GROUPS[epoch].reshape(-1, 2) == GROUPS[epoch].reshape(-1, 2)[:, :1]).all()
    assert len({tuple(epoch.tolist()) for epoch in epochs}) > 15
    assert set(batched(np.array([0]), 3, np.random.default_rng(0)).tolist()) == {0}


def test_validation_takes_each_sample_once():
    batches = in_turn(GROUPS, 2)
    assert sorted(place for batch in batches for place in batch) == list(range(len(GROUPS)))
    assert all(len(batch) <= 2 and len(set(GROUPS[batch])) == 1 for batch in batches)
