"""A frozen model that a student learns from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import Denoiser
from multidiff.errors import InputError
from multidiff.model import Model
from multidiff.nn.frozen import Frozen
from multidiff.sampling.model_directory import find_model, load, read_config


class Teacher(nn.Module):
    """A trained model, frozen: never trained, saved or averaged with the student.

    Args:
        model: its codec, conditioner and denoiser.
        path: of its directory.
        sha256: hex hash of its weights.
    """

    def __init__(self, model: Model, path: str, sha256: str):
        super().__init__()
        self.frozen = Frozen(model)
        self.path, self.sha256 = path, sha256

    @torch.no_grad()
    def denoiser(self, samples: Sequence[Mapping[str, Any]]) -> Denoiser:
        """The teacher's denoiser for samples with these fields, under its own conditions."""
        model: Model = self.frozen.module  # type: ignore[assignment]
        known = model.conditioner.reads
        fields = [{name: value for name, value in sample.items() if name in known} for sample in samples]
        return Bound(model.denoiser, model.condition(fields))


class Bound(Denoiser):
    """A denoiser with fixed conditions, those of one batch; the conditions of the call are ignored."""

    def __init__(self, denoiser: Denoiser, cond: Conditioning | None):
        super().__init__()
        self.denoiser, self.schedule, self.cond = denoiser, denoiser.schedule, cond

    def forward(self, x_t: Tensor, t: Tensor, cond: Conditioning | None = None) -> Tensor:
        return self.denoiser(x_t, t, self.cond)


def load_teacher(path: str | None, shape: tuple[int, ...], codec: Mapping[str, Any], needed: bool) -> Teacher | None:
    """The teacher at ``path``, checked against the student.

    Args:
        path: a run directory or a model directory; None for no teacher.
        shape: of the student's x0.
        codec: config of the student's codec.
        needed: whether the objective needs a teacher.

    Raises:
        InputError: a needed teacher is missing, one is given that is not needed, or shape or codec differ.
    """
    if path is None:
        if needed:
            raise InputError("this objective learns from a trained model: give teacher=MODEL_DIR")
        return None
    if not needed:
        raise InputError("this objective takes no teacher: leave teacher out, or set objective=distillation")
    path = str(path)
    pipeline = load(path, "cpu")
    if pipeline.shape != shape:
        raise InputError(f"the teacher {path} generates {pipeline.shape} and the student {shape}: make them equal")
    own = read_config(find_model(Path(path)))["codec"]
    if own != codec:
        changed = next(name for name in {**own, **codec} if own.get(name) != codec.get(name))
        raise InputError(
            f"the teacher {path} has codec.{changed}={own.get(changed)} and the student {codec.get(changed)}: set the "
            "student's codec to the teacher's"
        )
    assert pipeline.sha256 is not None
    return Teacher(pipeline.model, path, pipeline.sha256)
