"""The trained model that a training starts from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from multidiff.codecs.directory import is_codec
from multidiff.configuration import instantiate, load_option
from multidiff.diffusion.objectives import Objective
from multidiff.errors import InputError
from multidiff.sampling.model_directory import find_model, read_config

SAME_X0 = {"path", "views", "tile"}
"""Settings of a codec that leave x0 as it is: a learned codec is the one of its hash, wherever it lies."""

DECODING = {"smoothing", "iterations"}
"""Settings of a codec that change decoding alone, which training does not need."""

BY_ITSELF = "or use experiment=finetune, which does so"
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


def check_equal(role: str, path: str, settings: Mapping[str, Any], groups: Sequence[str]) -> None:
    """Refuse the model at ``path`` if these groups of its config differ from those of ``settings``.

    Raises:
        InputError: one differs.
    """
    config = read_config(find_model(Path(path).expanduser()))
    for group in groups:
        own, ours = config.get(group) or {}, settings[group]
        hashed = group == "codec" and "sha256" in own and "sha256" in ours
        same = (SAME_X0 if hashed else set()) | (DECODING if group == "codec" else set())
        names = [name for name in {**own, **ours} if name not in same]
        changed = next((name for name in names if own.get(name) != ours.get(name)), None)
        if changed:
            raise InputError(
                f"the {role} {path} has {group}.{changed}={own.get(changed)} and the student {ours.get(changed)}: set "
                f"the student's {group} to the {role}'s{f', {BY_ITSELF}' if role == 'model' else ''}"
            )
