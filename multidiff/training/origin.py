"""The trained model that a training starts from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multidiff.codecs.directory import is_codec
from multidiff.configuration import instantiate, load_option
from multidiff.diffusion.objectives import Objective
from multidiff.errors import InputError
from multidiff.model import Model
from multidiff.nn.embeddings import FURTHER
from multidiff.sampling.model_directory import find_model, load, read_config

SAME_X0 = {"path", "views", "tile"}
"""Settings of a codec that leave x0 as it is: a learned codec is the one of its hash, wherever it lies."""

ROWS = (".embedding.weight", ".position")
"""Ends of the names of weights with a row for each class, word or position."""

BY_ITSELF = "or take experiment=finetune, which does"
"""The advice for who repeats settings of the first model."""

ADOPTED = (
    "modality",
    "codec",
    "backbone",
    "conditioning",
    "schedule",
    "prediction",
    "objective",
    "sampler",
    "guidance",
)
"""What a training without a backbone takes from the model that it starts from, unless it is given."""


def origin(settings: Mapping[str, Any], before: Mapping[str, Any] | None) -> dict[str, Any]:
    """The config of the model that the setting ``init`` names; empty if it names none.

    Args:
        settings: of the training.
        before: those of the run that is resumed, which has taken from that model what it takes; None at the start.

    Raises:
        InputError: there is no such model.
    """
    if settings.get("init") is None:
        return {}
    return dict(before or read_config(find_model(Path(str(settings["init"])).expanduser())))


def adopted(settings: Mapping[str, Any], before: Mapping[str, Any] | None) -> dict[str, Any]:
    """``settings`` with the groups that they leave open as in the model at ``init``: see ``experiment=finetune``.

    Args:
        settings: of the training; with a backbone, they leave nothing open.
        before: as in `origin`.

    Raises:
        InputError: there is no such model, or it is a pretrained pipeline, or does not tell how it was trained.
    """
    if settings.get("backbone") is not None or settings.get("tuning") or settings.get("autoencoder"):
        return dict(settings)
    if settings.get("init") is None:
        raise InputError("give init=MODEL, the model to start from, or an experiment with a backbone")
    theirs = origin(settings, before)
    if is_codec(theirs):
        raise InputError(f"init: {settings['init']} is a codec: give a diffusion model")
    found: dict[str, Any] = {
        group: theirs.get(group) if settings.get(group) is None else settings[group] for group in ADOPTED
    }
    missing = [group for group, value in found.items() if value is None]
    if missing:
        way = (
            "train a pretrained pipeline with experiment=image/lora" if "tuning" in theirs else f"give {missing[0]}=..."
        )
        raise InputError(f"init: the config of {settings['init']} has no {missing[0]}: {way}")
    if settings.get("sampler") is None:
        suited = instantiate(Objective, found["objective"]).trained.samplers
        found["sampler"] = _suited_sampler(found["sampler"], suited, "trained" in theirs)
    return {**settings, **found}


def _suited_sampler(own: dict[str, Any], suited: Sequence[str], few_step: bool) -> dict[str, Any]:
    """``own``, the sampler of the first model, unless another objective needs one of those ``suited``, or any."""
    if suited:
        return own if own["name"] in suited else load_option("sampler", suited[0])
    return load_option("sampler", "dpmpp_2m") if few_step else own


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
    check_equal("model", path, settings, ("codec", "prediction"))
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
                f"conditioning as there, {BY_ITSELF}"
            )
    model.load_state_dict(given)


def check_equal(role: str, path: str, settings: Mapping[str, Any], groups: Sequence[str]) -> None:
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
                f"the student's {group} to the {role}'s{f', {BY_ITSELF}' if role == 'model' else ''}"
            )


def _has_rows(name: str) -> bool:
    """Whether the weight ``name`` of a model has a row for each class, word or position of a field."""
    return name.startswith("conditioner.") and name.endswith(ROWS)


def _further_rows(given: Tensor, fresh: Tensor) -> Tensor:
    """``given`` with the last rows of ``fresh``, where that has more rows of the same size."""
    return torch.cat([given, fresh[len(given) :]]) if given.shape[1:] == fresh.shape[1:] else given
