"""Weights & Biases and MLflow, which continue the same run after a resume; and images for any logger."""

import os
from collections.abc import Mapping
from functools import cached_property, singledispatch
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from PIL.Image import Image

from multidiff.errors import InputError


class WandB(WandbLogger):
    """Weights & Biases.

    Args:
        save_dir: folder for what it writes, and for the id of the run.
        project: that the run belongs to.
        name: of the run; None: chosen by the server.
        offline: keep the run on this machine, for ``wandb sync``.

    Raises:
        InputError: the package is missing, or nobody is logged in.
    """

    def __init__(self, save_dir: str, project: str = "multidiff", name: str | None = None, offline: bool = False):
        _require("wandb")
        self.folder = Path(save_dir).resolve()
        run_id = _kept_id(self.folder) or uuid4().hex[:8]
        super().__init__(name, str(self.folder), run_id, offline, project=project, resume="allow")

    @property
    def experiment(self) -> Any:
        if self._experiment is None and not rank_zero_only.rank:  # type: ignore[attr-defined]
            _keep_id(self.folder, str(self.version))
            for kind in ("CACHE", "DATA"):
                os.environ.setdefault(f"WANDB_{kind}_DIR", str(self.folder))
            os.environ.setdefault("WANDB_SILENT", "true")
            from wandb.errors import CommError, UsageError  # noqa: PLC0415  of an extra

            try:
                return super().experiment
            except (CommError, UsageError) as error:
                raise InputError(f"wandb: {error}; or set logger.wandb.offline=true") from error
        return super().experiment

    @rank_zero_only
    def finalize(self, status: str) -> None:
        super().finalize(status)
        if self._experiment is not None:
            self._experiment.finish(exit_code=0 if status == "success" else 1)
            self._experiment = None


class MLflow(Logger):
    """MLflow. Unlike Lightning's logger, it opens its store only when training starts, and in one process.

    Args:
        save_dir: folder for the id of the run, and for the store unless a server is used.
        experiment: that the run belongs to.
        tracking_uri: of a server; None: a store in ``save_dir``.

    Raises:
        InputError: the package is missing.
    """

    def __init__(self, save_dir: str, experiment: str = "multidiff", tracking_uri: str | None = None):
        _require("mlflow")
        super().__init__()
        self.folder, self.experiment, self.tracking_uri = Path(save_dir).resolve(), experiment, tracking_uri

    @property
    def name(self) -> str:
        return self.experiment

    @property
    def version(self) -> str | None:
        return _kept_id(self.folder)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *arguments: Any, **settings: Any) -> None:
        """None: the config is beside it."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        for name, value in metrics.items():
            self.client.log_metric(self.run_id, name, float(value), step=step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        if "run_id" in vars(self):
            self.client.set_terminated(self.run_id, "FINISHED" if status == "success" else "FAILED")

    @cached_property
    def client(self) -> Any:
        """MLflow's own."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow.tracking import MlflowClient  # noqa: PLC0415  of an extra

        self.folder.mkdir(parents=True, exist_ok=True)
        return MlflowClient(self.tracking_uri or f"sqlite:///{self.folder / 'mlflow.db'}")

    @cached_property
    def run_id(self) -> str:
        """Of the run that was begun here, or is begun now."""
        known = _kept_id(self.folder)
        if known:
            self.client.update_run(known, "RUNNING")
            return known
        there = self.client.get_experiment_by_name(self.experiment)
        local = None if self.tracking_uri else (self.folder / "artifacts").as_uri()
        experiment_id = there.experiment_id if there else self.client.create_experiment(self.experiment, local)
        run_id = self.client.create_run(experiment_id).info.run_id
        _keep_id(self.folder, run_id)
        return run_id


@singledispatch
def log_picture(logger: Logger, name: str, picture: Image, step: int) -> None:
    """Log ``picture``, if the logger supports images."""


@log_picture.register
def _(logger: TensorBoardLogger, name: str, picture: Image, step: int) -> None:
    logger.experiment.add_image(name, np.asarray(picture.convert("RGB")), step, dataformats="HWC")


@log_picture.register
def _(logger: WandbLogger, name: str, picture: Image, step: int) -> None:
    logger.log_image(name, [picture], step)


@log_picture.register
def _(logger: MLflow, name: str, picture: Image, step: int) -> None:
    logger.client.log_image(logger.run_id, picture, key=name, step=step)


def _require(package: str) -> None:
    if find_spec(package) is None:
        raise InputError(f"this logger needs the package {package}: pip install 'multidiff-toolkit[loggers]'")


def _kept_id(folder: Path) -> str | None:
    path = folder / "run_id"
    return path.read_text() if path.exists() else None


def _keep_id(folder: Path, run_id: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run_id").write_text(run_id)
