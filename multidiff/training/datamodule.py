"""An endless stream of batches in which batch k is a pure function of (seed, k).

Resuming needs no state: the number of a batch determines its samples, their order and their augmentation, with any
number of loader workers.
"""

import logging
import math
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from multidiff.data.dataset import Dataset, readable
from multidiff.data.order import batched, in_turn, shuffled
from multidiff.data.split import split
from multidiff.errors import InputError
from multidiff.training import hardware

log = logging.getLogger(__name__)


class Batches:
    """The positions in the stream of each batch from number ``start`` to ``stop``, for one of several processes."""

    def __init__(self, batch_size: int, start: int, stop: int, rank: int, processes: int):
        self.batch_size = batch_size
        self.start, self.stop = start, stop
        self.rank, self.processes = rank, processes

    def __len__(self) -> int:
        return self.stop  # all of training, since Lightning counts the batches before a resume too

    def __iter__(self) -> Iterator[list[int]]:
        for batch in range(self.start, self.stop):
            first = (batch * self.processes + self.rank) * self.batch_size
            yield list(range(first, first + self.batch_size))


class Stream(TorchDataset[dict[str, Any]]):
    """Samples by their position in an endless stream that shuffles ``indices`` in each epoch.

    Of data in groups, each ``batch_size`` positions from a multiple of it on are samples of one group.
    """

    def __init__(self, dataset: Dataset, indices: Sequence[int], seed: int, batch_size: int = 1):
        self.dataset = dataset
        self.indices = np.asarray(indices)
        if dataset.repeats is not None:
            self.indices = np.repeat(self.indices, dataset.repeats[self.indices])
        self.seed, self.batch_size = seed, batch_size
        self.groups = None if dataset.groups is None else dataset.groups[self.indices]
        self.shards = None if dataset.shards is None else dataset.shards[self.indices]
        self.ahead = 0 if self.shards is None else len(self.shards) // len(np.unique(self.shards))
        self._orders: dict[int, np.ndarray] = {}
        self.length = len(self.indices if self.groups is None else self._order(0))

    def __getitem__(self, position: int) -> dict[str, Any]:
        if self.ahead:
            self.dataset.expect(int(self.indices[self._place(position + self.ahead)]))
        random = np.random.default_rng([self.seed, position])
        return example(self.dataset, self.indices, self._place(position), random)

    def _place(self, position: int) -> int:
        epoch, place = divmod(position, self.length)
        if epoch not in self._orders:
            near = {number: order for number, order in self._orders.items() if abs(number - epoch) == 1}
            self._orders = {**near, epoch: self._order(epoch)}
        return int(self._orders[epoch][place])

    def _order(self, epoch: int) -> np.ndarray:
        random = np.random.default_rng([self.seed, epoch])
        if self.groups is not None:
            return batched(self.groups, self.batch_size, random)
        if self.shards is None:
            return random.permutation(len(self.indices))
        return shuffled(self.shards, self.dataset.mixed, random)


class InOrder(TorchDataset[dict[str, Any]]):
    """Each of ``indices`` once, always the same."""

    def __init__(self, dataset: Dataset, indices: Sequence[int]):
        self.dataset = dataset
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> dict[str, Any]:
        return example(self.dataset, self.indices, place, np.random.default_rng(place))


def example(
    dataset: Dataset, indices: Sequence[int] | np.ndarray, place: int, random: np.random.Generator
) -> dict[str, Any]:
    """Data and fields of sample ``indices[place]``, or of the next one that can be read.

    Raises:
        InputError: none can be read.
    """
    index, data = readable(dataset, indices, place, random)
    return {"data": data, "fields": dataset.facts(index, random)}


def collate(examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A batch: data as ``(B, C, *size)``, and the fields of each sample."""
    data: list[Tensor] = [example["data"] for example in examples]
    return {"data": torch.stack(data), "fields": [example["fields"] for example in examples]}


def in_arrays(examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A batch whose data are a NumPy array, which processes send through pipes: tensors go through shared memory."""
    batch = collate(examples)
    return {**batch, "data": batch["data"].numpy()}


WATCH = 5.0
"""Seconds after which a loader process notices that its parent is gone."""


def _leave_signals_to_the_parent(worker: int) -> None:
    """Let a loader process live through a signal to all processes of a run, whose step still needs its batches.

    SIGTERM from the parent itself, by which it ends its loaders, is obeyed. The handlers that it inherits from the
    parent, such as that of SLURM's signal before a time limit, are not its own.
    """
    for number in (signal.SIGINT, signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    parent = os.getppid()

    def obey() -> None:
        while os.getppid() == parent:  # a parent that is killed tells nobody
            told = signal.sigtimedwait({signal.SIGTERM}, WATCH)
            if told and told.si_pid == parent:
                break
        os._exit(0)

    threading.Thread(target=obey, daemon=True).start()


AHEAD = 2
"""Batches that each loader process prepares in advance, as torch has it by default."""

SEMAPHORES = 2**20
"""Bytes of shared memory that suffice for the locks of the loaders' queues."""


class DataModule(L.LightningDataModule):
    """A dataset, split once by ``seed`` into training and held-out samples.

    Loader processes send batches through shared memory. Where it is too small for them, as in a container of Docker's
    default settings, they use pipes; where it is missing, the training process loads the batches itself.

    Args:
        dataset: the data.
        batch_size: samples a step and process.
        workers: loader processes; 0 loads in the training process.
        holdout: fraction held out for validation, at least one sample.
        seed: of the split, the order and the augmentation.
        validated: most held-out samples that a validation takes, evenly spread over all.
    """

    def __init__(
        self, dataset: Dataset, *, batch_size: int, workers: int, holdout: float, seed: int, validated: int = 1000
    ):
        super().__init__()
        if not isinstance(batch_size, int) or batch_size < 1 or workers < 0:
            raise InputError(
                f"loader.batch_size must be at least 1 and loader.workers at least 0, got {batch_size} and {workers}"
            )
        if validated < 1:
            raise InputError(
                f"loader.validated, the held-out samples of a validation, must be at least 1, got {validated}"
            )
        self.dataset = dataset
        self.training, self.validation = split(len(dataset), holdout, seed, dataset.shards)
        self.batch_size, self.workers, self.seed, self.validated = batch_size, workers, seed, validated
        self.collate = collate

    def setup(self, stage: str) -> None:
        """Choose how batches reach this process by the shared memory that is free."""
        trainer, free = self._trainer(), hardware.free_shared_memory()
        batch = torch.float32.itemsize * self.batch_size * math.prod(self.dataset.shape)
        loaders = 2 * trainer.num_devices  # for training and for validation
        needed = SEMAPHORES + loaders * (self.workers * AHEAD + 2) * batch  # the trainer holds two more
        if not self.workers or free >= needed:
            return
        if free < SEMAPHORES:
            self.workers, instead = 0, "the training process loads the batches itself"
        else:
            self.collate, instead = in_arrays, "batches go through pipes"
        if trainer.is_global_zero:
            log.warning(
                "/dev/shm has %d MiB free, and the loaders need %d: %s, which is slower; enlarge it, with Docker by "
                "--shm-size=%dg, or lower loader.workers or loader.batch_size",
                *(free >> 20, needed >> 20, instead, math.ceil(needed / 2**30)),
            )

    def on_before_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        return {**batch, "data": torch.as_tensor(batch["data"])}

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches, starting after the last optimiser step of the trainer."""
        trainer = self._trainer()
        per_step = trainer.accumulate_grad_batches
        batches = Batches(
            self.batch_size,
            start=trainer.global_step * per_step,
            stop=trainer.max_steps * per_step,
            rank=trainer.global_rank,
            processes=trainer.world_size,
        )
        stream = Stream(self.dataset, self.training, self.seed, self.batch_size)
        return self._loader(stream, batch_sampler=batches)

    def val_dataloader(self) -> DataLoader[Any]:
        """Batches of held-out samples, shared among the processes; each sample several times if there are fewer."""
        trainer = self._trainer()
        count = min(max(self.validated, trainer.world_size), len(self.validation))
        taken = [self.validation[i * len(self.validation) // count] for i in range(count)]
        taken *= math.ceil(trainer.world_size / count)
        mine = taken[trainer.global_rank :: trainer.world_size]
        if self.dataset.groups is None:
            return self._loader(InOrder(self.dataset, mine), batch_size=self.batch_size)
        batches = in_turn(self.dataset.groups[mine], self.batch_size)
        return self._loader(InOrder(self.dataset, mine), batch_sampler=batches)

    def state_dict(self) -> dict[str, Any]:
        """A hash of the data; the position in the stream follows from the trainer's step."""
        return {"content": self.dataset.content}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict["content"] != self.dataset.content:
            log.warning("the data has changed since the checkpoint: training continues with the current data")

    def _loader(self, dataset: TorchDataset[Any], **batching: Any) -> DataLoader[Any]:
        return DataLoader(
            dataset,
            num_workers=self.workers,
            collate_fn=self.collate,
            prefetch_factor=AHEAD if self.workers else None,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.workers > 0,
            worker_init_fn=_leave_signals_to_the_parent,
            **batching,
        )

    def _trainer(self) -> L.Trainer:
        if self.trainer is None:
            raise RuntimeError("the data module's loaders belong to a running trainer")
        return self.trainer
