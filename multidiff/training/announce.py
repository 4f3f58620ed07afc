"""What a training found and is about to do, and for how long."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from multidiff.data.dataset import Unaugmented, drawn_rows
from multidiff.data.files import atomic_path
from multidiff.data.survey import described, problems
from multidiff.model import described_network
from multidiff.sampling.for_few import for_few
from multidiff.training.base_run import BaseRun
from multidiff.training.beginning import beginning, unused
from multidiff.training.budget import seconds_of
from multidiff.training.progress import duration

PICTURED = 12
"""Samples in the picture of the data."""

PICTURE = "data.png"


def announced(run: BaseRun) -> list[str]:
    """Lines about the data, their problems and the model; a picture of the data goes into ``RUN_DIR``."""
    trained = sum(parameter.numel() for parameter in run.module.model.parameters() if parameter.requires_grad)
    return [
        *(f"data     {line}" for line in described(run.dataset)),
        f"data     {len(run.datamodule.validation):,} held out; preprocessed samples: {_pictured(run)}",
        *(f"problem  {line}" for line in _problems(run)),
        *(f"problem  {line}" for line in unused(run)),
        *(f"problem  {line}" for line in run.obstacles),
        *(f"start    {line}" for line in beginning(run)),
        f"model    {trained / 1e6:.3g}M parameters{_model(run.settings)}",
        f"training {_training(run.settings)}",
        *_reference(run.settings),
    ]


def _problems(run: BaseRun) -> Iterator[str]:
    """What in the data may spoil the training."""
    other_way = None if "autoencoder" in run.settings else for_few(run.modality)
    return problems(run.dataset, "tuning" not in run.settings, other_way, run.settings.get("init") is not None)


def _reference(settings: Mapping[str, Any]) -> list[str]:
    """The result of a comparable training, if the experiment names one and this is no training of another kind."""
    known = settings.get("reference")
    return [] if not known or settings.get("teacher") or settings.get("check") else [f"compare  {known}"]


def _model(settings: Mapping[str, Any]) -> str:
    """What a training may have chosen by itself of a diffusion model."""
    conditions, backbone = settings.get("conditioning"), settings.get("backbone")
    if not backbone:
        return ""
    known = f"{', '.join(conditions)}, guidance {settings['guidance']:g}" if conditions else "none"
    return f", {described_network(backbone)}; conditions: {known}"


def _training(settings: Mapping[str, Any]) -> str:
    """The length, the batches and the precision."""
    trainer = settings["trainer"]
    budget = settings["budget"]
    length = f"{trainer['max_steps']:,} steps" if budget is None else duration(seconds_of(budget))
    return f"{length}, batches of {settings['loader']['batch_size']}, precision {trainer['precision']}"


def _pictured(run: BaseRun) -> Path:
    """Write a picture of random samples of the data and return its path."""
    data = Unaugmented(run.dataset)
    artifacts = [run.modality.to_artifact(data[row]) for row in drawn_rows(len(data), PICTURED)]
    with atomic_path(run.run_dir / PICTURE) as path:
        run.modality.preview(artifacts).save(path)
    return run.run_dir / PICTURE
