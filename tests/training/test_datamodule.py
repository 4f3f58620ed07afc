"""Batch k is a pure function of (seed, k)."""

from itertools import chain
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch

from multidiff.data.dataset import Dataset
from multidiff.data.labels import Labels
from multidiff.errors import InputError
from multidiff.training.datamodule import Batches, DataModule, Stream, collate


class Numbers(Dataset):
    """Sample i is the number i, plus a random fraction."""

    shape = (1, 1)
    fields: ClassVar = {"label": Labels((0, 1) * 5, ("even", "odd")), "number": range(10)}

    def __len__(self):
        return 10

    def data(self, index, random):
        return torch.full((1, 1), index + random.random() / 2)


def batches(start, stop, rank=0, processes=1, size=4, seed=0):
    stream = Stream(Numbers(), range(10), seed)
    return [collate([stream[p] for p in places]) for places in Batches(size, start, stop, rank, processes)]


def indices(found):
    return [int(x) for batch in found for x in batch["data"].flatten()]


def test_every_sample_comes_once_an_epoch_in_a_new_order():
    seen = indices(batches(0, 5))
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]


def test_resuming_at_a_batch_gives_the_batches_that_would_have_followed():
    whole, rest = batches(0, 7), batches(3, 7)
    for one, other in zip(whole[3:], rest, strict=True):
        assert torch.equal(one["data"], other["data"])
        assert one["fields"] == other["fields"]


def test_augmentation_differs_between_epochs_and_repeats_with_the_seed():
    stream = Stream(Numbers(), range(10), 0)
    first = {int(stream[p]["data"]): stream[p]["data"].item() for p in range(10)}
    second = {int(stream[p]["data"]): stream[p]["data"].item() for p in range(10, 20)}
    assert all(first[i] != second[i] for i in range(10))
    assert first == {int(stream[p]["data"]): stream[p]["data"].item() for p in range(10)}


def test_processes_share_an_epoch_between_them():
    """Two processes with batches of 5 see all ten samples in one step, none twice."""
    shares = [indices(batches(0, 1, rank, 2, size=5)) for rank in (0, 1)]
    assert sorted(chain(*shares)) == list(range(10))


def test_two_processes_see_together_what_one_sees_alone():
    alone = indices(batches(0, 6, size=4))
    together = [indices(batches(0, 6, rank, 2, size=2)) for rank in (0, 1)]
    merged = list(chain(*(together[rank][2 * k : 2 * k + 2] for k in range(6) for rank in (0, 1))))
    assert merged == alone


def test_fields_come_with_their_samples():
    (batch,) = batches(0, 1)
    numbers = [int(x) for x in batch["data"].flatten()]
    assert batch["fields"] == [{"label": ("even", "odd")[n % 2], "number": n} for n in numbers]


def test_split_is_fixed_by_the_seed_and_disjoint():
    def module(seed):
        return DataModule(Numbers(), batch_size=2, workers=0, holdout=0.3, seed=seed)

    data = module(0)
    assert len(data.validation) == 3
    assert sorted(data.validation + data.training) == list(range(10))
    assert module(0).validation == data.validation != module(1).validation


def test_a_validation_takes_some_held_out_samples_of_all_parts_of_the_data(monkeypatch):
    data = DataModule(Numbers(), batch_size=2, workers=0, holdout=0.6, seed=0, validated=3)
    monkeypatch.setattr(data, "_trainer", lambda: SimpleNamespace(global_rank=0, world_size=1))
    taken = [int(x) for batch in data.val_dataloader() for x in batch["data"].flatten()]
    assert taken == data.validation[::2]


@pytest.mark.parametrize("processes", [2, 3, 5])
def test_fewer_held_out_samples_than_processes_are_validated_equally_often(monkeypatch, processes):
    data = DataModule(Numbers(), batch_size=2, workers=0, holdout=0.2, seed=0)
    assert len(data.validation) == 2
    shares = []
    for rank in range(processes):
        trainer = SimpleNamespace(global_rank=rank, world_size=processes)
        monkeypatch.setattr(data, "_trainer", lambda trainer=trainer: trainer)
        shares.append([int(x) for batch in data.val_dataloader() for x in batch["data"].flatten()])
    assert all(shares)
    assert sorted(chain(*shares)) == sorted(data.validation * -(-processes // 2))


@pytest.mark.parametrize(
    "wrong", [{"holdout": 0.0}, {"holdout": 1.0}, {"batch_size": 0}, {"workers": -1}, {"validated": 0}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(InputError, match=r"loader\."):
        DataModule(Numbers(), **{"batch_size": 2, "workers": 0, "holdout": 0.3, "seed": 0, **wrong})
