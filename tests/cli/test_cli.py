"""What all commands share: help, interruption, and `multidiff reproduce`."""

import os
import subprocess
import sys
from io import BytesIO, TextIOWrapper
from types import SimpleNamespace

import pytest
import torch
import yaml
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from multidiff.cli import main as cli
from multidiff.cli.main import _at_home, _less_memory, _one_line, main
from multidiff.cli.options import count
from multidiff.cli.processes import shared
from multidiff.errors import InputError
from multidiff.evaluation import Reference
from multidiff.sampling.plan import Plan
from multidiff.training.reproduce import _difference
from tests.cli.command import multidiff, refused
from tests.tiny import tiny_train

COMMANDS = ("train", "sample", "evaluate", "export", "reproduce", "grid", "samplers", "doctor", "quickstart", "pack")


@pytest.mark.parametrize(
    ("given", "pretrained", "settings", "expected"),
    [
        (None, False, {}, 16),
        (None, True, {"prompt": ["a", "b"]}, 4),
        (None, True, {"fields": {"tempo": list(range(5))}}, 5),
        (None, False, {"label": [str(i) for i in range(20)]}, 20),
        (2, False, {"label": ["a", "b", "c"]}, 2),
    ],
)
def test_by_default_every_value_that_is_given_has_a_sample(given, pretrained, settings, expected):
    assert count(given, SimpleNamespace(pretrained=pretrained), settings) == expected


def test_help_lists_the_commands(tmp_path):
    text = multidiff("--help", cwd=tmp_path).stdout
    for word in COMMANDS:
        assert word in text


@pytest.mark.parametrize("chosen", [{}, {"OMP_WAIT_POLICY": "ACTIVE"}])
def test_threads_of_openmp_that_wait_leave_the_cores_to_others_unless_told_otherwise(chosen):
    others = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    script = "import multidiff.cli, os, sys; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    shown = subprocess.check_output([sys.executable, "-c", script], env=others | chosen, text=True)
    assert shown == f"{chosen.get('OMP_WAIT_POLICY', 'PASSIVE')} False\n"


@pytest.mark.parametrize("command", ["sample", "evaluate"])
def test_an_interruption_is_one_line(run_dir, tmp_path, monkeypatch, command):
    def interrupted(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(Plan, "x0", interrupted)
    monkeypatch.setattr(Reference, "artifact", interrupted)
    request = {"sample": ("-n", 1, "--out", "out"), "evaluate": ("--data", "digits", "--samples", 20)}[command]
    done = multidiff(command, run_dir, *request, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (130, "multidiff: interrupted\n")


def test_a_command_that_there_is_not(tmp_path):
    refused("smaple", cwd=tmp_path, saying="smaple")


HELP = """
import sys
from multidiff.cli.main import main
for command in ([], *([name] for name in sys.argv[1:])):
    sys.argv = ["multidiff", *command, "--help"]
    try:
        main()
    except SystemExit as end:
        print("ended", command, end.code, sorted({"torch", "hydra", "numpy", "rich"} & set(sys.modules)))
"""


def test_help_imports_neither_torch_nor_hydra():
    """Which is what makes it fast: 0.3 s and 31 MB where it took 2.7 to 7 s and 670 MB."""
    done = subprocess.run([sys.executable, "-c", HELP, *COMMANDS], capture_output=True, text=True, check=True)
    ended = [line for line in done.stdout.splitlines() if line.startswith("ended")]
    assert ended == [f"ended {command} 0 []" for command in ([], *([name] for name in COMMANDS))]


def test_reproduce_says_equal_or_where_it_differs(run_dir, tmp_path):
    request = ("sample", run_dir, "-n", 2, "--label", 3, "--steps", 2, "--out", "out")
    assert multidiff(*request, cwd=tmp_path).returncode == 0
    for target in ("out", "out/00001.png"):
        done = multidiff("reproduce", target, cwd=tmp_path)
        assert (done.returncode, "equal, byte for byte" in done.stdout) == (0, True), done.stderr
    image = Image.open(tmp_path / "out/00000.png")
    text = Image.open(tmp_path / "out/00001.png").info["multidiff"]
    chunks = PngInfo()
    chunks.add_text("multidiff", text)
    image.save(tmp_path / "out/00001.png", pnginfo=chunks)
    done = multidiff("reproduce", "out", "--out", "again", cwd=tmp_path)
    assert done.returncode == 1
    assert "1 of 2 differ" in done.stdout
    assert "00001.png: " in done.stdout
    assert (tmp_path / "again" / "00001.png").exists()
    refused("reproduce", "nowhere.png", cwd=tmp_path, saying="there is no file nowhere.png")


def test_a_home_that_the_shell_left_is_found(run_dir, tmp_path):
    request = ("sample", run_dir, "-n", 1, "--label", 3, "--steps", 1, "--out=~/out")
    done = multidiff(*request, cwd=tmp_path, HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"home"}
    assert (tmp_path / "home" / "out" / "00000.png").is_file()


@pytest.mark.parametrize("word", ["~", "~user/x", "a~/x", "--prompt=~ waves", "run_dir=~/x"])
def test_other_words_keep_their_tilde(word, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert _at_home(word) == ("/home/me" if word == "~" else word)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "not enough memory: lower --batch-size or the"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "not enough memory: lower --batch-size or the"),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "not enough memory to load torch"),
        (OSError("libtorch_cpu.so: failed to map segment from shared object"), "not enough memory to load torch"),
        (OSError(24, "Too many open files"), "too many open files: raise the limit, for example with ulimit -n"),
        (RuntimeError("our own fault"), None),
    ],
)
def test_running_out_of_memory_or_files_is_a_line(error, line, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["multidiff", "sample"])
    found = _one_line(error)
    assert found is None if line is None else found.startswith(line)


@pytest.mark.parametrize("command", ["train", "quickstart", *(each.__name__ for each in cli.COMMANDS)])
def test_what_to_do_without_memory_is_an_option_of_the_command(command, tmp_path):
    """That of a training is in its config."""
    known = "--batch-size" in multidiff(command, "--help", cwd=tmp_path).stdout
    assert ("--batch-size" in _less_memory(command)) == known
    assert ("loader.batch_size" in _less_memory(command)) == (command == "train")


def test_what_a_run_does_not_use_is_refused(run_dir, tmp_path):
    refused("reproduce", run_dir, "--init", "x", cwd=tmp_path, saying="leave --model, --init, --mask and --lora out")


@pytest.mark.parametrize(
    ("was", "now", "line"),
    [
        (torch.zeros(2), torch.zeros(2), None),
        (torch.zeros(2), torch.ones(2), "w: differs by 1 at most"),
        (torch.zeros(2), torch.zeros(3), "w: shape (2,), then (3,): the data have changed"),
        (torch.zeros(2), None, "w: only in the first model: the data have changed"),
    ],
)
def test_weights_are_compared(was, now, line):
    assert _difference("w", was, now) == line


def test_reproduce_trains_a_run_again(tmp_path):
    tiny_train(tmp_path / "run", "trainer.max_steps=3", "resume=auto")
    done = multidiff("reproduce", "run", cwd=tmp_path)
    assert (done.returncode, "run: equal, byte for byte" in done.stdout) == (0, True), done.stdout + done.stderr
    config = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    config["optimizer"]["lr"] = 1e-2
    (tmp_path / "run/config.yaml").write_text(yaml.safe_dump(config))
    done = multidiff("reproduce", "run", cwd=tmp_path)
    assert done.returncode == 1
    assert "differs by" in done.stdout


@pytest.mark.parametrize("variables", [{"WORLD_SIZE": "abc"}, {"WORLD_SIZE": "2"}])
def test_a_broken_environment_of_torchrun_is_a_line(run_dir, tmp_path, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("RANK", raising=False)
    refused("sample", run_dir, "--out", "out", cwd=tmp_path, saying="WORLD_SIZE and RANK must be integers")


def test_a_terminal_without_the_characters_of_a_message_shows_their_codes(monkeypatch):
    stdout = TextIOWrapper(BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(sys, "argv", ["multidiff", "sample", "猫", "--out", "x"])
    with pytest.raises(SystemExit):
        main()
    print("猫", file=stdout, flush=True)
    assert stdout.buffer.getvalue() == b"\\u732b\n"


def test_several_processes_without_shared_memory_are_refused(monkeypatch):
    def read_only(context):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("multiprocessing.context.BaseContext.SimpleQueue", read_only)
    with pytest.raises(InputError, match="shared memory, /dev/shm: Read-only file system; leave --processes out"):
        shared(print, 2)
