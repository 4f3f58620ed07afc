"""What a training found and is about to do, and for how long."""

from pathlib import Path

import torch

from multidiff.data.dataset import Unaugmented
from multidiff.data.files import atomic_path
from multidiff.data.survey import described, problems
from multidiff.training.run import Run

PICTURED = 12
"""Samples in the picture of the data."""

PICTURE = Path("previews", "data.png")


def announced(run: Run) -> list[str]:
    """Lines about the data, their problems and the model, and a picture of the data as the model sees them."""
    model, shape = run.module.model, "x".join(map(str, run.pipeline.shape))
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return [
        *(f"data     {line}" for line in described(run.dataset)),
        f"data     {len(run.datamodule.validation):,} held out; as the model sees them: {_pictured(run)}",
        *(f"problem  {line}" for line in problems(run.dataset)),
        f"model    {trained / 1e6:.3g}M parameters; samples of {shape}",
    ]


def _pictured(run: Run) -> Path:
    """Write a picture of samples spread over the data, encoded and decoded, and return its path."""
    data, model, modality = Unaugmented(run.dataset), run.module.model, run.pipeline.modality
    rows = torch.linspace(0, len(data) - 1, min(PICTURED, len(data))).int().tolist()
    artifacts = [modality.to_artifact(model.decode(model.encode(data[row][None]))[0]) for row in rows]
    with atomic_path(run.run_dir / PICTURE) as path:
        modality.preview(artifacts).save(path)
    return run.run_dir / PICTURE
