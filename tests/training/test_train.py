"""Training learns, is reproducible to the bit, resumes where it stopped, and stops when asked."""

import os
import signal
import sys
import time
from contextlib import suppress

import pytest
import torch
import yaml
from PIL import Image

import multidiff
from multidiff.cli.main import main
from multidiff.errors import InputError
from multidiff.training.checkpoints import newest_checkpoint
from multidiff.training.module import DiffusionModule
from multidiff.training.run_directory import read_settings
from multidiff.training.stop import GracefulStop, Request
from multidiff.training.train import _environment_kept
from tests.tiny import TINY, tiny_train, weights
from tests.training.processes import start


def test_one_batch_is_learned_within_a_minute_and_reported(tmp_path, capsys):
    settings = ("check=overfit", "optimizer.lr=1e-2", "callbacks.learns_one_batch.fraction=0.8")
    assert tiny_train(tmp_path / "run", *settings).finished
    assert "this configuration learns one batch: the loss went from" in capsys.readouterr().out


def test_a_configuration_that_cannot_learn_one_batch_is_refused(tmp_path):
    settings = ("check=overfit", "optimizer.lr=1e-9", "trainer.max_steps=30")
    with pytest.raises(InputError, match="does not learn one batch: the loss went from"):
        tiny_train(tmp_path / "run", *settings)


def test_one_batch_that_takes_too_long_to_tell_is_no_failure_to_learn(tmp_path):
    settings = ("check=overfit", "callbacks.learns_one_batch.seconds=1e-9")
    with pytest.raises(InputError, match="are too few to decide whether"):
        tiny_train(tmp_path / "run", *settings)


def test_a_stop_request_within_a_step_waits_for_the_end_of_the_step_alone(tmp_path, monkeypatch):
    settings = ("trainer.accumulate_grad_batches=2", "trainer.max_steps=4")
    tiny_train(tmp_path / "whole", *settings)
    original = GracefulStop.on_train_batch_end

    def ask(self, trainer, module, outputs, batch, batch_idx):
        self.request = Request.STOP if batch_idx >= 4 else Request.NONE
        original(self, trainer, module, outputs, batch, batch_idx)

    def refuse(*arguments):
        raise AssertionError("a validation may take longer than there is time")

    with monkeypatch.context() as patch:
        patch.setattr(GracefulStop, "on_train_batch_end", ask)
        patch.setattr(DiffusionModule, "validation_step", refuse)
        assert tiny_train(tmp_path / "stopped", *settings).steps == 3
    tiny_train(tmp_path / "stopped", "resume=true", *settings)
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize(("precision", "fused"), [("32-true", True), ("16-mixed", False)])
def test_in_half_precision_gradients_lose_their_scale_before_they_are_clipped(tmp_path, precision, fused):
    """A fused optimiser would take it off afterwards. Processors have no scale, so only the choice is seen here."""
    tiny_train(tmp_path, f"trainer.precision={precision}", "trainer.max_steps=1")
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["optimizer"]["fused"] == fused


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a few steps, which no test changes."""
    run_dir = tmp_path_factory.mktemp("run")
    tiny_train(run_dir, "trainer.max_steps=4")
    return run_dir


def test_another_seed_trains_another_model(run, tmp_path):
    tiny_train(tmp_path, "trainer.max_steps=4", "seed=1")
    a, b = weights(run), weights(tmp_path)
    name = "model.conditioner.parts.label.embedding.weight"
    assert not torch.equal(a[name], b[name])


def test_training_learns(tmp_path):
    """The loss starts at that of an output of 0 and loses a third of it within 40 steps."""
    settings = ("optimizer.lr=1e-2", "warmup_steps=5", "loader.batch_size=64", "trainer.val_check_interval=4")
    tiny_train(tmp_path, "trainer.max_steps=40", "ema=constant", *settings)
    rows = (tmp_path / "logs" / "csv" / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("val/loss")
    losses = [float(row.split(",")[column]) for row in rows[1:] if row.split(",")[column]]
    assert losses[-1] < losses[0] * 2 / 3


def test_run_directory_holds_what_the_design_says(tmp_path):
    tiny_train(
        tmp_path,
        "trainer.max_steps=4",
        "trainer.val_check_interval=2",
        "callbacks.previews.every=2",
        "sampler.steps=2",
        "checkpoint_every=2",
    )
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert {
        "config.yaml",
        "checkpoints/step_00000004.ckpt",
        "lowest_loss/model.safetensors",
        "model/model.safetensors",
        "model/config.yaml",
        "model/README.md",
        "previews/step_00000002.png",
        "previews/step_00000004.png",
        "logs/csv/metrics.csv",
    } <= found
    assert any(name.startswith("logs/tensorboard/events") for name in found)
    assert not [name for name in found if "/." in name or name.startswith(".")]
    header = (tmp_path / "logs" / "csv" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"val/loss", "val/log_snr_below_-2", "val/log_snr_above_2"} <= set(header)
    assert yaml.safe_load((tmp_path / "model" / "config.yaml").read_text())["training"]["samples_seen"] == 32


def test_the_model_directory_holds_the_average(run):
    pipeline, state = multidiff.load(run), weights(run)
    for name, value in pipeline.model.state_dict().items():
        assert torch.equal(value, state[f"ema.model.{name}"])
    assert any(not torch.equal(value, state[f"model.{name}"]) for name, value in pipeline.model.state_dict().items())


def test_a_run_is_not_overwritten_and_nothing_is_resumed_from_nowhere(run, tmp_path):
    with pytest.raises(InputError, match="already holds a run; continue it with resume=true"):
        tiny_train(run, "trainer.max_steps=5")
    with pytest.raises(InputError, match="nothing to resume"):
        tiny_train(tmp_path / "other", "resume=true")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+optimizer.momentum=1", "AdamW.*momentum"),
        ("+loader.prefetch=1", "prefetch"),
        ("conditioning=[label,text]", "needs captions"),
        ("schedule=karras +schedule.sigma_low=1", "Karras.*sigma_low"),
        ("loader.holdout=2", "loader.holdout"),
        ("stability=3", "stability is a block of settings; give one of them, such as stability.patience=20"),
        ("~stability", "stability cannot be deleted: leave ~stability out"),
        ("trainer.max_steps=0", "trainer.max_steps must be an integer of at least 1"),
        ("checkpoint_every=0", "checkpoint_every must be"),
        ("seed=-1", "seed must be"),
        ("ema=constant ema.warmup=0", "warmup > 0"),
        ("conditioning.label.dropout=2", "a probability, got 2"),
        ("guidance=-3", "guidance scale"),
        ("sampler.steps=0", "steps must be an integer from 1 to 100000, got 0"),
        ("trainer.accelerator=gpu", "trainer:"),
        ("trainer.accelerator=tpu", "trainer:"),
        ("trainer.strategy=perhaps", "must be one of auto, ddp, got perhaps"),
        ("trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches must be an integer of at least 1"),
        ("trainer.val_check_interval=0", "trainer.val_check_interval must be an integer of at least 1"),
        ("trainer.gradient_clip_val=-1", "trainer.gradient_clip_val must be at least 0"),
        ("trainer.profile=7", "trainer.profile must be true or false, got 7"),
        ("trainer.strategy=fsdp", "weights cannot be split between devices"),
        ("callbacks.previews.count=0", "callbacks.previews: every must"),
        ("objective=distillation", "this objective learns from a trained model: give teacher=MODEL_DIR"),
        ("teacher=nowhere", "this objective takes no teacher"),
        ("objective=distillation teacher=nowhere", "there is no model at nowhere"),
        ("backbone.widths=[8]", "UNet: need one entry per stage"),
        ("+callbacks.evaluation.every=500", r"expected the _target_ of a Callback.*'every': 500"),
        ("conditioning.label.dim=-1", "dim of at least 1"),
        ("codec=scaling codec.shared=2", "codec.shared divides the 1 channels"),
        ("resume=0", "resume must be true, false or auto, got 0"),
    ],
)
def test_bad_settings_leave_nothing_behind(tmp_path, override, message):
    with pytest.raises(InputError, match=message):
        tiny_train(tmp_path / "run", *override.split())
    assert not (tmp_path / "run").exists()


def train_in_a_group(arguments):
    """The command, with its loaders in a process group of their own, as a shell starts it."""
    os.setsid()
    sys.argv = ["multidiff", "train", *arguments]
    main()


@pytest.mark.parametrize(("number", "times"), [(signal.SIGINT, 1), (signal.SIGTERM, 2)])
def test_a_signal_to_all_processes_of_a_run_saves_and_ends_cleanly(tmp_path, number, times):
    run, log = tmp_path / "run", tmp_path / "log"
    overrides = ["trainer.max_steps=100000", "checkpoint_every=1", "trainer.val_check_interval=100000"]
    process = start(train_in_a_group, [*TINY, *overrides, f"run_dir={run}", "loader.workers=2"], log=log)
    while newest_checkpoint(run / "checkpoints") is None and process.is_alive():
        time.sleep(0.05)
    for _ in range(times):
        os.killpg(process.pid, number)
        time.sleep(0.02)
    process.join(60)
    process.kill()
    assert process.exitcode == 0, log.read_text()
    assert "stopped; continue with: multidiff train" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert multidiff.load(run).sample(1, steps=1)
    result = tiny_train(
        run, f"trainer.max_steps={int(newest_checkpoint(run / 'checkpoints').stem[5:]) + 1}", "resume=true"
    )
    assert result.finished


@pytest.mark.parametrize("fails", [False, True])
def test_after_training_signals_do_what_they_did_before(tmp_path, monkeypatch, fails):
    def broken(*arguments):
        raise InputError("broken")

    if fails:
        monkeypatch.setattr(DiffusionModule, "training_step", broken)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with suppress(InputError):
        tiny_train(tmp_path / "run", "trainer.max_steps=1")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_previews_use_the_same_seeds_each_time(tmp_path):
    often = ("callbacks.previews.every=1", "sampler.steps=2")
    tiny_train(tmp_path, "trainer.max_steps=2", *often, "optimizer.lr=1e-12")
    pictures = sorted((tmp_path / "previews").iterdir())
    assert pictures[0].read_bytes() == pictures[1].read_bytes()


def test_metrics_of_a_resumed_run_are_kept(tmp_path):
    tiny_train(tmp_path, "trainer.max_steps=1", "trainer.val_check_interval=1")
    tiny_train(tmp_path, "trainer.max_steps=2", "trainer.val_check_interval=1", "resume=true")
    names = {path.name for path in (tmp_path / "logs" / "csv").iterdir()}
    assert {"metrics.csv", "metrics_before_step_00000001.csv"} <= names


def test_a_teacher_with_other_statistics_of_the_codec_is_refused(tmp_path):
    teacher = tiny_train(tmp_path / "teacher", "codec=scaling", "trainer.max_steps=1").run_dir
    student = ("objective=distillation", f"teacher={teacher}", "codec=scaling", "codec.mean=[0]", "codec.deviation=[5]")
    with pytest.raises(InputError, match=r"codec\.mean=\[.*and the student \[0\]"):
        tiny_train(tmp_path / "student", *student)


def test_a_student_of_more_files_keeps_the_statistics_of_its_teacher(tmp_path, caplog):
    pictures = tmp_path / "pictures"

    def save(place, grey):
        (pictures / place).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), grey).save(pictures / place)

    for i in range(3):
        save(f"cats/{i}.png", 20 * i)
        save(f"dogs/{i}.png", 30 * i)
    folder = ("data=image_folder", f"data.root={pictures}", "data.size=8", "codec=scaling", "loader.batch_size=2")
    teacher = tiny_train(tmp_path / "teacher", *folder, "trainer.max_steps=1").run_dir
    save("cats/3.png", 255)
    student = (*folder, "objective=distillation", f"teacher={teacher}", f"init={teacher}")
    tiny_train(tmp_path / "student", *student, "trainer.max_steps=1")
    assert read_settings(tmp_path / "student")["codec"] == read_settings(teacher)["codec"]
    tiny_train(tmp_path / "student", *student, "trainer.max_steps=2", "resume=true")
    assert "the data have changed" not in caplog.text


def test_the_environment_is_restored_after_an_error(monkeypatch):
    monkeypatch.setenv("SOMETHING", "before")
    with suppress(InputError), _environment_kept():
        os.environ["SOMETHING"] = "within"
        raise InputError
    assert os.environ["SOMETHING"] == "before"
