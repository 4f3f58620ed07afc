"""The trained model that a student learns from."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from multidiff.conditioners import Conditioner
from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import Denoiser
from multidiff.diffusion.objectives import Objective
from multidiff.errors import InputError
from multidiff.model import Model
from multidiff.nn.frozen import Frozen
from multidiff.sampling.model_directory import find_model, load, read_config
from multidiff.training.origin import check_equal


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

    @property
    def denoiser(self) -> Denoiser:
        """The teacher's denoiser."""
        return self.frozen.module.denoiser  # type: ignore[return-value]

    @property
    def conditioner(self) -> Conditioner:
        """The teacher's conditioner."""
        return self.frozen.module.conditioner  # type: ignore[return-value]

    @torch.no_grad()
    def condition(self, samples: Sequence[Mapping[str, Any]]) -> Conditioning | None:
        """The teacher's own conditions of samples with these fields; the null condition for values it does not know."""
        return self.conditioner(self.conditioner.known([self.conditioner.own(sample) for sample in samples]))


def known_codec(settings: Mapping[str, Any], before: Mapping[str, Any] | None, objective: Objective) -> dict[str, Any]:
    """The codec of ``settings``, with what it leaves to the data as in the teacher, or in the model at ``init``.

    The student must have their codec, and the data of a student may differ from theirs.

    Args:
        settings: of the training.
        before: those of the run that is resumed, which has such a codec; None at the start.
        objective: that takes the teacher.

    Raises:
        InputError: there is no such model.
    """
    codec = settings["codec"]
    path = (settings["teacher"] if objective.takes_teacher else None) or settings.get("init")
    if path is None:
        return codec
    theirs = (before or read_config(find_model(Path(str(path)).expanduser()))).get("codec") or {}
    if theirs.get("_target_") != codec["_target_"]:
        return codec
    return {name: theirs.get(name) if value is None else value for name, value in codec.items()}


def load_teacher(settings: Mapping[str, Any], shape: tuple[int, ...], objective: Objective) -> Teacher | None:
    """The teacher that a training names, checked against the student.

    Args:
        settings: of the training: ``teacher`` is a run directory or a model directory, or None for no teacher.
        shape: of the student's x0.
        objective: that learns from it.

    Raises:
        InputError: a needed teacher is missing, one is given that the objective does not take, or its shape, codec or
            schedule differ from the student's.
    """
    if settings["teacher"] is None:
        if objective.needs_teacher:
            raise InputError("this objective learns from a trained model: give teacher=MODEL_DIR")
        return None
    if not objective.takes_teacher:
        raise InputError("this objective takes no teacher: leave teacher out, or set objective=distillation")
    path = str(settings["teacher"])
    pipeline = load(path, "cpu")
    if pipeline.shape != shape:
        raise InputError(
            f"the teacher {path} has samples of shape {pipeline.shape}, the student of {shape}: make them equal"
        )
    check_equal("teacher", path, settings, ("codec", "schedule"))
    assert pipeline.sha256 is not None
    return Teacher(pipeline.model, path, pipeline.sha256)


def check_guidance(objective: Objective, student: Model, teacher: Teacher | None, fields: Collection[str]) -> None:
    """Refuse to learn guidance from a model without conditions in the data: its guided estimates are its plain ones.

    Args:
        objective: that the student learns by.
        student: whose guided estimates are learned if there is no teacher.
        teacher: whose guided estimates are learned.
        fields: that the data have.

    Raises:
        InputError: the objective has such guidance.
    """
    if objective.trained.guidance in (None, (1.0, 1.0)):
        return
    followed = teacher.conditioner if teacher else student.conditioner
    known = [name for name in followed.reads if name in fields]
    if not known and not (teacher and "guidance" in teacher.denoiser.inputs):
        guided = "teacher" if teacher else "model"
        raise InputError(
            f"guidance needs a condition, and the data have none that the {guided} reads: set objective.guidance=1"
        )
