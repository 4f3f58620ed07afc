"""Loaders on small machines: little shared memory, processes that are killed, data that hang."""

import pytest
import torch

from multidiff.training import hardware
from tests.tiny import tiny_train, weights


@pytest.mark.parametrize(
    ("free", "instead"),
    [(0, "the training process loads the batches itself"), (2**20, "batches go through pipes"), (2**30, None)],
)
def test_batches_take_the_way_that_shared_memory_leaves_and_stay_the_same(tmp_path, monkeypatch, caplog, free, instead):
    settings = ("trainer.max_steps=3", "trainer.val_check_interval=2")
    tiny_train(tmp_path / "alone", *settings)
    monkeypatch.setattr(hardware, "free_shared_memory", lambda: free)
    tiny_train(tmp_path / "run", *settings, "loader.workers=2")
    alone, other = weights(tmp_path / "alone"), weights(tmp_path / "run")
    assert all(torch.equal(alone[name], value) for name, value in other.items())
    assert ("/dev/shm" in caplog.text) == (instead is not None)
    assert (instead or "") in caplog.text
