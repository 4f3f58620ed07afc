"""A run is one run for each logger, however often it is gone on with, and stays in its directory."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from lightning.pytorch.loggers import CSVLogger
from PIL.Image import Image

from multidiff.configuration import compose
from multidiff.errors import DiskFullError, InputError
from multidiff.training.checkpoints import newest_checkpoint
from tests.tiny import TINY, tiny_train

EVERYTHING = (
    "trainer.log_every_n_steps=1",
    "callbacks.previews.every=2",
    "callbacks.previews.count=1",
    "sampler.steps=2",
)


def stopped_and_gone_on_with(run_dir, *settings):
    tiny_train(run_dir, "trainer.max_steps=2", *EVERYTHING, *settings)
    tiny_train(run_dir, "trainer.max_steps=4", "resume=true", *EVERYTHING, *settings)


def test_options_combine_and_replace_the_default():
    assert list(compose([]).logger) == ["tensorboard", "csv"]
    assert list(compose(["logger=[csv,mlflow]"]).logger) == ["csv", "mlflow"]
    assert list(compose(["logger=wandb"]).logger) == ["wandb"]
    assert not compose(["logger=[]"]).get("logger")


def test_training_needs_no_logger(tmp_path):
    assert tiny_train(tmp_path, "trainer.max_steps=2", "logger=[]", *EVERYTHING).finished
    assert not (tmp_path / "logs").exists()


def test_tensorboard_has_all_steps_and_pictures(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415

    stopped_and_gone_on_with(tmp_path, "logger=tensorboard")
    events = EventAccumulator(str(tmp_path / "logs" / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [0, 1, 2, 3]
    assert [event.step for event in events.Images("previews")] == [2, 4]


@pytest.mark.slow
def test_mlflow_goes_on_in_one_run_with_pictures(tmp_path):
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    from mlflow.tracking import MlflowClient  # noqa: PLC0415

    stopped_and_gone_on_with(tmp_path, "logger=mlflow")
    folder = tmp_path / "logs" / "mlflow"
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("multidiff")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "train/loss")] == [0, 1, 2, 3]
    pictures = [path.name for path in (folder / "artifacts").rglob("previews*.png")]
    assert {int(re.search(r"step\D(\d+)", name)[1]) for name in pictures} == {2, 4}


@pytest.mark.slow
@pytest.mark.parametrize("logger", ["wandb", "mlflow"])
def test_nothing_is_written_outside_the_run_directory(tmp_path, logger):
    pytest.importorskip(logger)
    if logger == "mlflow":
        pytest.importorskip("sqlalchemy")
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    offline = ["logger.wandb.offline=true"] if logger == "wandb" else []
    environment = {**os.environ, "HOME": str(tmp_path / "home"), "MPLCONFIGDIR": str(tmp_path / "matplotlib")}
    for steps, resume in ((2, "false"), (4, "true")):
        settings = [f"run_dir={tmp_path / 'run'}", f"trainer.max_steps={steps}", f"resume={resume}", *EVERYTHING]
        subprocess.run(
            [sys.executable, "-m", "multidiff.cli.main", "train", *TINY, f"logger={logger}", *offline, *settings],
            cwd=tmp_path / "here",
            env=environment,
            check=True,
        )
    written = [path for path in [*(tmp_path / "home").rglob("*"), *(tmp_path / "here").rglob("*")] if path.is_file()]
    assert not written
    if logger == "wandb":
        runs = {path.name.rpartition("-")[2] for path in (tmp_path / "run/logs/wandb/wandb").glob("offline-run-*")}
        assert runs == {(tmp_path / "run/logs/wandb/run_id").read_text()}
        assert list((tmp_path / "run").rglob("previews*.png"))


@pytest.mark.parametrize("logger", ["wandb", "mlflow"])
def test_without_the_package_a_line_says_what_to_install(tmp_path, monkeypatch, logger):
    monkeypatch.setattr("multidiff.training.loggers.find_spec", lambda package: None)
    with pytest.raises(InputError, match=rf"needs the package {logger}: pip install 'multidiff-toolkit\[loggers\]'"):
        tiny_train(tmp_path / "run", f"logger={logger}")
    assert not Path(tmp_path / "run").exists()


@pytest.mark.parametrize("writer", [(Image, "save"), (CSVLogger, "log_metrics")])
def test_a_disk_that_is_full_for_previews_and_logs_is_a_line_and_the_checkpoint_is_kept(tmp_path, monkeypatch, writer):
    def full(*arguments, **settings):
        raise OSError(errno.ENOSPC, "No space left on device")

    settings = ("checkpoint_every=1", "callbacks.previews.every=2", "sampler.steps=2", "trainer.log_every_n_steps=2")
    tiny_train(tmp_path / "run", *settings, "trainer.max_steps=1")
    with monkeypatch.context() as patch:
        patch.setattr(*writer, full)
        with pytest.raises(DiskFullError, match=r"^the disk is full: .* in \S+/run$"):
            tiny_train(tmp_path / "run", *settings, "trainer.max_steps=4", "resume=true")
    assert newest_checkpoint(tmp_path / "run" / "checkpoints") is not None
    assert tiny_train(tmp_path / "run", *settings, "trainer.max_steps=4", "resume=true").finished
