"""Trained models that a student learns from, or starts from."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from multidiff.conditioners import Conditioner, FieldConditioner
from multidiff.configuration import target_class
from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import Denoiser
from multidiff.diffusion.objectives import Objective
from multidiff.errors import InputError
from multidiff.model import Model
from multidiff.nn.embeddings import FURTHER
from multidiff.nn.frozen import Frozen
from multidiff.sampling.model_directory import find_model, load, read_config

SAME_X0 = {"path", "views", "tile"}
"""Settings of a codec that leave x0 as it is: a learned codec is the one of its hash, wherever it lies."""


ROWS = (".embedding.weight", ".position")
"""Ends of the names of weights with a row for each class, word or position."""


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
        """The teacher's own conditions of samples with these fields."""
        conditioner = self.conditioner
        known = conditioner.reads
        return conditioner([{name: value for name, value in sample.items() if name in known} for sample in samples])


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


def known_conditioning(
    settings: Mapping[str, Any], learned: Mapping[str, Any], before: Mapping[str, Any] | None
) -> Any:
    """The conditioning ``learned`` from the data, which also knows what the model at ``init`` knows.

    Args:
        settings: of the training.
        learned: by field.
        before: settings of the run that is resumed, which started from that model; None at the start.

    Raises:
        InputError: there is no such model.
    """
    if settings.get("init") is None:
        return learned
    theirs = (before or read_config(find_model(Path(str(settings["init"])).expanduser()))).get("conditioning") or {}
    return {
        field: {**part, **target_class(part, FieldConditioner).continued(part, theirs[field])}
        if theirs.get(field, {}).get("_target_") == part["_target_"]
        else part
        for field, part in learned.items()
    }


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
        raise InputError(f"the teacher {path} generates {pipeline.shape} and the student {shape}: make them equal")
    _check_equal("teacher", path, settings, ("codec", "schedule"))
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


def start_from(model: Model, settings: Mapping[str, Any], shape: tuple[int, ...]) -> None:
    """Give ``model`` the weights of the trained model that the setting ``init`` names; None changes nothing.

    Its samples may have another size, such as fewer pixels, if the network has the same weights for both. Weights of
    further inputs, such as a second time, may be missing from it: they are zero at first, without effect. Further
    classes and words keep their fresh weights.

    Raises:
        InputError: the model at ``init`` differs in channels, axes, codec, prediction or weights.
    """
    if settings.get("init") is None:
        return
    path = str(settings["init"])
    pipeline = load(path, "cpu")
    if pipeline.shape[0] != shape[0] or len(pipeline.shape) != len(shape):
        raise InputError(
            f"init: {path} generates {pipeline.shape} and the model to train {shape}: the channels "
            "(the first number) and the number of axes must be equal"
        )
    _check_equal("model", path, settings, ("codec", "prediction"))
    given, own = pipeline.model.state_dict(), model.state_dict()
    given |= {name: value for name, value in own.items() if FURTHER in name and name not in given}
    given |= {
        name: _further_rows(given[name], weight) for name, weight in own.items() if _has_rows(name) and name in given
    }
    for name in {**own, **given}:
        theirs, ours = (tuple(state[name].shape) if name in state else "none" for state in (given, own))
        if theirs != ours:
            raise InputError(
                f"init: {path} has {name} of shape {theirs} and the model to train {ours}: set backbone and "
                "conditioning as there"
            )
    model.load_state_dict(given)


def _has_rows(name: str) -> bool:
    """Whether the weight ``name`` of a model has a row for each class, word or position of a field."""
    return name.startswith("conditioner.") and name.endswith(ROWS)


def _further_rows(given: Tensor, fresh: Tensor) -> Tensor:
    """``given`` with the last rows of ``fresh``, where that has more rows of the same size."""
    return torch.cat([given, fresh[len(given) :]]) if given.shape[1:] == fresh.shape[1:] else given


def _check_equal(role: str, path: str, settings: Mapping[str, Any], groups: Sequence[str]) -> None:
    """Refuse the model at ``path`` if these groups of its config differ from those of ``settings``.

    Raises:
        InputError: one differs.
    """
    config = read_config(find_model(Path(path).expanduser()))
    for group in groups:
        own, ours = config.get(group) or {}, settings[group]
        hashed = group == "codec" and "sha256" in own and "sha256" in ours
        names = [name for name in {**own, **ours} if not (hashed and name in SAME_X0)]
        changed = next((name for name in names if own.get(name) != ours.get(name)), None)
        if changed:
            raise InputError(
                f"the {role} {path} has {group}.{changed}={own.get(changed)} and the student {ours.get(changed)}: set "
                f"the student's {group} to the {role}'s"
            )
