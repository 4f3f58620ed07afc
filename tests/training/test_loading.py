"""Loaders on small machines: little shared memory, processes that are killed, data that hang."""

import multiprocessing
import os
import signal
import sys
import time
from functools import partial
from itertools import count
from pathlib import Path

import pytest
import torch

from multidiff.cli.main import main
from multidiff.errors import InputError
from multidiff.training import datamodule, hardware, stop
from multidiff.training.checkpoints import newest_checkpoint
from multidiff.training.datamodule import InOrder, Stream, _leave_signals_to_the_parent
from multidiff.training.train import _loaders_told
from tests.tiny import TINY, tiny_train, weights
from tests.training.processes import start, start_together

SHORT = ("trainer.max_steps=3", "trainer.val_check_interval=2")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The weights of a short training that loads its batches itself."""
    run_dir = tmp_path_factory.mktemp("alone")
    tiny_train(run_dir, *SHORT)
    return weights(run_dir)


@pytest.mark.parametrize(
    ("free", "instead"),
    [(0, "the training process loads the batches itself"), (2**20, "batches go through pipes"), (2**30, None)],
)
def test_batches_take_the_way_that_shared_memory_leaves_and_stay_the_same(
    alone, tmp_path, monkeypatch, caplog, free, instead
):
    monkeypatch.setattr(hardware, "free_shared_memory", lambda: free)
    tiny_train(tmp_path, *SHORT, "loader.workers=2")
    assert all(torch.equal(alone[name], value) for name, value in weights(tmp_path).items())
    assert ("/dev/shm" in caplog.text) == (instead is not None)
    assert (instead or "") in caplog.text


def train_on(loaded, data, run_dir, overrides):
    """Train by the command on digits; ``data`` is called with the number of samples that ``loaded`` gives here."""
    original, calls = loaded.__getitem__, count(1)

    def changed(self, position):
        data(next(calls))
        return original(self, position)

    loaded.__getitem__, stop.GRACE = changed, 1.0
    sys.argv = ["multidiff", "train", *TINY, f"run_dir={run_dir}", *overrides]
    main()


def hang(good, calls):
    if calls > good:
        time.sleep(600)


def die(calls):
    if calls > 8 * 3 and multiprocessing.parent_process() is not None:
        time.sleep(1)  # the third batch is sent meanwhile
        os.kill(os.getpid(), signal.SIGKILL)


def stopped_after_the_third_step(run_dir, processes, logs):
    """Stop a training that hangs after its third step by a signal to its first process; resume it, and compare."""
    while processes[0].is_alive() and newest_checkpoint(run_dir / "checkpoints") is None:
        time.sleep(0.05)
    time.sleep(1)  # the third step ends
    os.kill(processes[0].pid, signal.SIGTERM)
    for process in processes:
        process.join(30)
        process.kill()
    said = [log.read_text() for log in logs]
    assert [process.exitcode for process in processes] == [0] * len(processes), "\n".join(said)
    assert f"stopped; continue with: multidiff train run_dir={run_dir} resume=true" in said[0]
    assert not any("Traceback" in text for text in said)
    assert newest_checkpoint(run_dir / "checkpoints").name == "step_00000003.ckpt"


HANGS = {"training": (Stream, 8 * 3), "validation": (InOrder, 8)}
"""Where a loader hangs, and how many samples it loads there before: those of three steps, or of a batch."""

SETTINGS = ("checkpoint_every=2", "trainer.max_steps=100", "trainer.val_check_interval=3")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The weights of a training of five steps that nothing stops."""
    run_dir = tmp_path_factory.mktemp("whole")
    tiny_train(run_dir, "trainer.max_steps=5")
    return weights(run_dir)


@pytest.mark.parametrize(
    ("place", "workers"),
    [
        pytest.param("training", 0, marks=pytest.mark.slow),
        pytest.param("training", 1, marks=pytest.mark.slow),
        ("validation", 1),
    ],
)
def test_a_signal_ends_a_training_whose_loader_hangs_and_keeps_its_steps(tmp_path, whole, place, workers):
    run_dir, log, (loaded, good) = tmp_path / "run", tmp_path / "log", HANGS[place]
    interval = {"training": 1000, "validation": 3}[place]
    overrides = (*SETTINGS, f"loader.workers={workers}", f"trainer.val_check_interval={interval}")
    process = start(train_on, loaded, partial(hang, good), run_dir, overrides, log=log)
    stopped_after_the_third_step(run_dir, [process], [log])
    tiny_train(run_dir, "trainer.max_steps=5", "resume=true")
    assert all(torch.equal(whole[name], value) for name, value in weights(run_dir).items())


def train_rank(rank, hanging, loaded, good, run_dir, overrides):
    train_on(loaded, partial(hang, good if rank == hanging else 10**9), run_dir, overrides)


@pytest.mark.slow
@pytest.mark.parametrize(("place", "hanging"), [("training", 0), ("validation", 1)])
def test_a_signal_to_one_process_ends_all_whichever_loader_hangs(tmp_path, place, hanging):
    run_dir, (loaded, good) = tmp_path / "run", HANGS[place]
    overrides = (*SETTINGS, "trainer=cpu_ddp", "trainer.max_steps=100", "trainer.val_check_interval=3")
    processes, logs = start_together(2, train_rank, hanging, loaded, good, run_dir, overrides, log=tmp_path / "log")
    stopped_after_the_third_step(run_dir, processes, logs)


def test_a_loader_process_that_is_killed_is_a_line_and_the_last_step_is_kept(tmp_path):
    run_dir, log = tmp_path / "run", tmp_path / "log"
    process = start(train_on, Stream, die, run_dir, ("loader.workers=1", "trainer.max_steps=100"), log=log)
    process.join(60)
    process.kill()
    *told, line = log.read_text().strip().splitlines()
    assert process.exitcode == 2
    assert all(each.startswith(("data  ", "model  ", "training ")) for each in told)
    assert "a loader process was killed, probably for lack of memory: lower loader.workers" in line
    assert newest_checkpoint(run_dir / "checkpoints").name == "step_00000003.ckpt"


@pytest.mark.parametrize(
    ("kind", "said", "line"),
    [
        (InputError, "s.tar: truncated\nat byte 7", "s.tar: truncated\nat byte 7"),
        (PermissionError, "[Errno 13] a.png: Error: no", "[Errno 13] a.png: Error: no"),
    ],
)
def test_what_a_loader_process_says_comes_without_its_traceback(kind, said, line):
    name = f"multidiff.errors.{kind.__name__}" if kind is InputError else kind.__name__
    caught = f"Caught {kind.__name__} in DataLoader worker process 0.\nOriginal Traceback:\n  File x\n{name}: {said}"
    with pytest.raises(InputError) as refused, _loaders_told():
        raise kind(caught)
    assert str(refused.value) == line


def test_a_loader_process_without_memory_is_told_so():
    with pytest.raises(MemoryError, match=r"^in a loader process; lower loader\.workers"), _loaders_told():
        raise MemoryError("Caught MemoryError in DataLoader worker process 0.\nOriginal Traceback:\nMemoryError")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1, signal.SIGALRM])
def test_a_loader_process_ignores_a_signal_to_the_whole_group_whose_handler_it_inherits(number):
    inherited = signal.signal(number, lambda *arguments: os._exit(3))
    try:
        assert _status_of_a_loader_that_receives(number) == 0
    finally:
        signal.signal(number, inherited)


def _status_of_a_loader_that_receives(number):
    child = os.fork()
    if child == 0:
        _leave_signals_to_the_parent(0)
        os.kill(os.getpid(), number)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_loader_process_ends_after_its_parent_is_killed(monkeypatch):
    monkeypatch.setattr(datamodule, "WATCH", 0.05)
    receiving, sending = os.pipe()
    parent = os.fork()
    if parent == 0:
        loader = os.fork()
        if loader == 0:
            _leave_signals_to_the_parent(0)
            time.sleep(60)
        os.write(sending, str(loader).encode())
        os.kill(os.getpid(), signal.SIGKILL)
    loader = int(os.read(receiving, 100))
    os.waitpid(parent, 0)
    end = time.monotonic() + 20
    while Path(f"/proc/{loader}/cmdline").exists() and Path(f"/proc/{loader}/cmdline").read_bytes():
        assert time.monotonic() < end
        time.sleep(0.01)
