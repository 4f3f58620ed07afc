"""Training runs are stopped and resumed from the page."""

import platform
import shutil
import subprocess
import sys
import time

import pytest
import yaml

from multidiff.errors import InputError
from multidiff.studio import trainer
from multidiff.studio.server import Address
from multidiff.studio.trainer import Trainer
from multidiff.training.resume import resume_run
from multidiff.training.run_directory import process_of

HOLDER = """
import fcntl, os, sys, time
lock = open(sys.argv[1], "a+")
fcntl.lockf(lock, fcntl.LOCK_EX)
lock.write(f"process {os.getpid()} on {sys.argv[2]}")
lock.flush()
print("held", flush=True)
time.sleep(60)
"""


def holder(folder, machine):
    """A process that holds the lock of a run, as a training does."""
    (folder / "run.lock").unlink(missing_ok=True)
    command = [sys.executable, "-c", HOLDER, str(folder / "run.lock"), machine]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_training_is_stopped(tmp_path):
    run = Trainer(tmp_path)
    assert (run.is_running, run.state) == (False, "not training")
    with pytest.raises(InputError, match="not training now"):
        run.stop()
    with holder(tmp_path, platform.node()) as process:
        assert process_of(tmp_path) == process.pid
        assert (run.is_running, run.state) == (True, "training")
        with pytest.raises(InputError, match="training already"):
            run.resume()
        run.stop()
        process.wait(timeout=10)
    assert not run.is_running


def test_a_training_on_another_machine_is_left_alone(tmp_path):
    with holder(tmp_path, "elsewhere") as process:
        with pytest.raises(InputError, match="on elsewhere: stop it there"):
            Trainer(tmp_path).stop()
        assert process.poll() is None
        process.kill()


def test_a_run_is_resumed_with_its_own_settings(run_dir, tmp_path):
    copy = shutil.copytree(run_dir, tmp_path / "run")
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["trainer"]["max_steps"] = 3
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    assert resume_run(copy).steps == 3


def test_what_a_resumed_training_fails_of_is_shown(tmp_path, monkeypatch):
    failing = tmp_path / "python"
    failing.write_text("#!/bin/sh\necho 'multidiff: the data are gone' >&2\nexit 2\n")
    failing.chmod(0o755)
    monkeypatch.setattr(trainer.sys, "executable", str(failing))
    run = Trainer(tmp_path)
    run.resume()
    for _ in range(100):
        if not run.is_running:
            break
        time.sleep(0.05)
    assert run.state == "not resumed: the data are gone"


@pytest.mark.parametrize(("host", "auth", "private"), [("127.0.0.1", None, True), ("0.0.0.0", None, False)])
def test_only_those_who_are_known_control_trainings(host, auth, private):
    assert Address(host, auth=auth).is_private is private
    assert Address(host, auth=("ada", "lovelace")).is_private
