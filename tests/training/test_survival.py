"""Whatever ends a run, the next one resumes from an intact checkpoint, to the bit."""

import os
import random
import resource
import shutil
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

import multidiff
from multidiff.cli.main import main
from multidiff.data.files import atomic_directory, heal, surviving
from multidiff.errors import InputError
from multidiff.training.checkpoints import newest_checkpoint, set_aside_damaged
from multidiff.training.module import DiffusionModule
from multidiff.training.run_directory import held
from tests.cli.command import multidiff as command
from tests.cli.command import refused
from tests.tiny import TINY, tiny_train, weights
from tests.training.processes import start

EVERY = 2
STEPS = 60
TWICE = ("checkpoint_every=2", "trainer.max_steps=4")
SURVIVOR = (f"trainer.max_steps={STEPS}", f"checkpoint_every={EVERY}", "resume=auto")


def noting_steps(run_dir, notes, overrides):
    """Train, and append the number of each step that begins to the file ``notes``."""
    original = DiffusionModule.training_step

    def noted(self, batch, batch_idx):
        with notes.open("a") as file:
            file.write(f"{self.global_step}\n")
        return original(self, batch, batch_idx)

    DiffusionModule.training_step = noted
    tiny_train(run_dir, *overrides)


def steps_begun(notes):
    return [int(line) for line in notes.read_text().split()] if notes.exists() else []


def being_written(run_dir):
    """Whether a checkpoint or the model directory is half written at this moment."""
    return any(next(run_dir.glob(pattern), None) for pattern in ("checkpoints/.step_*", ".model-*"))


def until(condition, process):
    while not condition() and process.is_alive():
        time.sleep(1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "times"), [(0, 12), (2, 4)])
def test_kills_in_a_row_lose_nothing_and_repeat_little(tmp_path, workers, times):
    """Every other kill waits for a half-written file; the others come some steps after the first."""
    overrides = (*SURVIVOR, f"loader.workers={workers}")
    tiny_train(tmp_path / "whole", *overrides)
    run_dir, chance, last, kills, hit = tmp_path / "run", random.Random(0), -1, 0, 0
    while kills < times:
        notes = tmp_path / f"steps_{kills}"
        process = start(noting_steps, run_dir, notes, overrides, log=tmp_path / "log")
        until(lambda notes=notes: steps_begun(notes), process)
        if kills % 2:
            until(lambda: being_written(run_dir), process)
            time.sleep(chance.random() * 5e-3)
        else:
            enough = chance.randint(1, 2 * EVERY)
            until(lambda notes=notes, enough=enough: len(steps_begun(notes)) > enough, process)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, (tmp_path / "log").read_text()
        begun = steps_begun(notes)
        assert last + 1 - begun[0] <= EVERY
        last, kills, hit = begun[-1], kills + 1, hit + being_written(run_dir)
    assert hit  # some died while they wrote
    finish = start(noting_steps, run_dir, tmp_path / "steps_last", overrides, log=tmp_path / "log")
    finish.join()
    assert finish.exitcode == 0, (tmp_path / "log").read_text()
    assert last + 1 - steps_begun(tmp_path / "steps_last")[0] <= EVERY
    whole, survived = weights(tmp_path / "whole"), weights(run_dir)
    assert all(torch.equal(whole[name], survived[name]) for name in whole)
    files = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("whole", "run")]
    assert files[0] == files[1]
    assert not list(run_dir.rglob(".*"))


@pytest.fixture(scope="module")
def one_step(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("one_step")
    tiny_train(run_dir, "trainer.max_steps=1")
    return run_dir


@pytest.fixture
def run(one_step, tmp_path):
    """A run of a step, to change."""
    return shutil.copytree(one_step, tmp_path / "run")


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture(scope="module")
def saved_twice(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("saved_twice")
    tiny_train(run_dir, *TWICE)
    return run_dir


@pytest.fixture
def longer(saved_twice, tmp_path):
    """A run with checkpoints of steps 2 and 4, to change."""
    return shutil.copytree(saved_twice, tmp_path / "longer")


@pytest.mark.parametrize("damage", [truncate, flip])
def test_a_damaged_checkpoint_gives_way_to_the_one_before_it_which_is_said(longer, caplog, damage):
    before, newest = weights(longer), newest_checkpoint(longer / "checkpoints")
    damage(newest)
    assert newest_checkpoint(longer / "checkpoints").name == "step_00000002.ckpt"
    assert tiny_train(longer, *TWICE, "resume=true").steps == 4
    assert "step_00000004.ckpt is damaged and was renamed to *.damaged; resuming from step_00000002.ckpt" in caplog.text
    assert newest.with_name("step_00000004.ckpt.damaged").exists()
    assert all(torch.equal(before[name], value) for name, value in weights(longer).items())


def test_a_checkpoint_that_another_process_wrote_meanwhile_is_not_taken_for_damaged(longer):
    older = longer / "checkpoints" / "step_00000002.ckpt"
    for found in (older, None):
        with pytest.raises(InputError, match=r"another process has written checkpoints in .* meanwhile"):
            set_aside_damaged(longer / "checkpoints", found)
    assert newest_checkpoint(longer / "checkpoints").name == "step_00000004.ckpt"


def test_without_a_whole_checkpoint_the_command_says_so_in_a_line(run, tmp_path):
    truncate(newest_checkpoint(run / "checkpoints"))
    refused("train", "run_dir=run", "resume=true", cwd=tmp_path, saying="every checkpoint in run/checkpoints is")


class Killed(BaseException):
    """What no one catches."""


def test_a_folder_survives_a_crash_between_its_two_renames(tmp_path, monkeypatch):
    folder, renames = tmp_path / "model", []
    with atomic_directory(folder) as path:
        (path / "old").touch()
    replace = type(folder).replace

    def crash(self, target):
        renames.append(target)
        if len(renames) == 2:
            raise Killed
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(type(folder), "replace", crash)
        with pytest.raises(Killed), atomic_directory(folder) as path:
            (path / "new").touch()
    assert not folder.exists()
    assert [path.name for path in surviving(folder).iterdir()] == ["old"]
    (tmp_path / ".model-ab12cd_9.partial").mkdir()
    heal(tmp_path, "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert [path.name for path in folder.iterdir()] == ["old"]


def test_a_model_is_loaded_while_or_after_its_folder_is_replaced(run):
    (run / "model").rename(run / ".model-previous.partial")
    assert multidiff.load(run).shape == (1, 8, 8)
    tiny_train(run, "trainer.max_steps=1", "resume=true")
    assert (run / "model").is_dir()


@contextmanager
def no_space_beyond(size):
    """Files longer than ``size`` bytes cannot be written."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_a_line_and_the_checkpoints_before_it_are_kept(run, tmp_path):
    before = weights(run)
    with no_space_beyond(20_000):
        done = command("train", "run_dir=run", "trainer.max_steps=2", "resume=true", cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "step_00000002.ckpt cannot be written: the disk is full" in done.stderr
    assert all(torch.equal(before[name], value) for name, value in weights(run).items())
    assert not [path for path in (run / "checkpoints").iterdir() if path.name.startswith(".")]
    assert tiny_train(run, "trainer.max_steps=2", "resume=true").finished


@pytest.mark.parametrize("place", ["/proc/run", "file/run"])
def test_a_directory_that_refuses_to_be_written_is_named(tmp_path, place):
    """Root may write whatever a mode forbids, but not into /proc, nor below a file."""
    (tmp_path / "file").touch()
    refused("train", *TINY, f"run_dir={place}", cwd=tmp_path, saying=f"cannot write into the run directory {place}")


def test_a_second_process_is_refused_until_the_first_is_gone_however_it_goes(tmp_path):
    run_dir, ready = tmp_path / "run", tmp_path / "ready"
    first = os.fork()
    if first == 0:
        with held(run_dir):
            ready.touch()
            time.sleep(60)
            os._exit(0)
    while not ready.exists():
        time.sleep(0.01)
    with pytest.raises(InputError, match=rf"process {first} on .* is training in .*; wait for it"):
        tiny_train(run_dir)
    os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)
    assert tiny_train(run_dir, "trainer.max_steps=1").finished


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("loader.workers=abc", "DataModule: workers must be of type int, got 'abc'"),
        ("optimizer.lr=fast", "AdamW: lr must be of type float, got 'fast'"),
        ("conditioning.label.dropout=often", "LabelConditioner: dropout must be of type float, got 'often'"),
        ("callbacks.previews.every=null", "Previews: every must be of type int, got None"),
        ("resume=perhaps", "resume must be true, false or auto"),
        ("stability.patience=0", "stability.patience must be at least 1"),
    ],
)
def test_a_setting_of_the_wrong_type_is_named(tmp_path, override, message):
    with pytest.raises(InputError, match=message):
        tiny_train(tmp_path / "run", override)
    assert not (tmp_path / "run").exists()


def test_data_that_changed_since_the_checkpoint_is_said(run, monkeypatch, caplog):
    from modalities.image.data import Digits  # noqa: PLC0415

    original = Digits.__init__

    def changed(self, *arguments, **settings):
        original(self, *arguments, **settings)
        self.content = "other"

    monkeypatch.setattr(Digits, "__init__", changed)
    tiny_train(run, "trainer.max_steps=2", "resume=true")
    assert "the data has changed since the checkpoint" in caplog.text


def as_slurm_does(folder, overrides):
    """The command, in the environment of a job of one task."""
    job = {"JOB_ID": "17", "NTASKS": "1", "NTASKS_PER_NODE": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    os.environ |= {f"SLURM_{name}": value for name, value in {**job, "JOB_NAME": "train"}.items()}
    os.environ |= {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "MASTER_ADDR": "127.0.0.1"}
    os.chdir(folder)
    sys.argv = ["multidiff", "train", *overrides]
    main()


@pytest.mark.slow
def test_slurms_signal_saves_requeues_and_the_same_command_goes_on(tmp_path):
    """With a scontrol that writes down what it is asked."""
    scontrol, checkpoints, log = (tmp_path / name for name in ("bin/scontrol", "run/checkpoints", "log"))
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    scontrol.chmod(0o755)
    overrides = [*TINY, "trainer=slurm", "run_dir=run", "trainer.max_steps=100000", "checkpoint_every=5", "resume=auto"]
    steps = []
    for _ in range(2):
        known = set(checkpoints.glob("step_*"))
        process = start(as_slurm_does, tmp_path, overrides, log=log)
        until(lambda known=known: set(checkpoints.glob("step_*")) - known, process)
        os.kill(process.pid, signal.SIGUSR1)
        process.join(300)
        process.kill()
        process.join()
        assert process.exitcode == 0, log.read_text()
        assert "stopped; continue with: multidiff train run_dir=run resume=true" in log.read_text()
        steps.append(int(newest_checkpoint(checkpoints).stem[5:]))
    assert steps[1] > steps[0]
    assert (tmp_path / "asked").read_text() == "requeue 17\n" * 2


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("touched"),))


@pytest.mark.parametrize("place", ["callbacks", "optimizer_states", "evil"])
def test_a_strangers_checkpoint_runs_no_code(run, tmp_path, monkeypatch, place):
    """A pickle within a checkpoint whose checksums are right is refused by name, and nothing is called."""
    monkeypatch.chdir(tmp_path)
    (path,) = (run / "checkpoints").glob("step_*.ckpt")
    torch.save({**torch.load(path, weights_only=True), place: Evil()}, path)
    with pytest.raises(InputError, match=r"every checkpoint in .* is damaged"):
        tiny_train(run, "trainer.max_steps=2", "resume=true")
    assert not (tmp_path / "touched").exists()
