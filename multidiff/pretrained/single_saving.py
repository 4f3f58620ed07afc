"""A pretrained pipeline as a single file in the layout of the original code, as ComfyUI and A1111 open it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from multidiff.errors import InputError, first_of
from multidiff.pretrained.conversion import fused_parts
from multidiff.pretrained.keys import RULES, to_original
from multidiff.pretrained.parts import Parts
from multidiff.pretrained.single_file import RECOGNISED, described, empty_part, recognised

UNTOLD = (
    *("attention_head_dim", "num_attention_heads", "num_heads", "addition_time_embed_dim", "axes_dims_rope"),
    *("scaling_factor", "shift_factor", "hidden_act", "feed_forward_proj", "relative_attention_max_distance"),
)
"""Settings of networks that shapes of weights do not tell: a single file has those of its architecture."""

SWITCHES = ("trained_betas", "use_dynamic_shifting")
"""Settings of schedulers that are off unless they are given."""

SCHEDULE = (
    *("beta_schedule", "beta_start", "beta_end", "num_train_timesteps", "shift", "base_shift", "max_shift"),
    *SWITCHES,
)
"""Settings of schedulers that a model was trained with, likewise."""

STATED = {"epsilon": "epsilon", "v_prediction": "v"}
"""What the metadata of a file call each prediction."""


def save_single(source: Path, lora: Mapping[str, float], file: Path) -> None:
    """Save the pipeline at ``source`` as a single file, with LoRAs inside its weights, which keep their types.

    The file has no configs, no tokenizers and no sampler: programs take those of its architecture.

    Args:
        source: a folder of diffusers, or a single file, whose parts from beside it are put in.
        lora: files of LoRAs, each with its weight.
        file: is replaced if it exists.

    Raises:
        InputError: it cannot be opened, a LoRA is not one for it, or no architecture of single files is that of it.
    """
    _, parts = fused_parts(source, lora)
    architecture = _architecture_of(parts)
    state: dict[str, Tensor] = {}
    for name, network in parts.networks.items():
        part = architecture["parts"][name]
        state |= {_prefix(part) + key: tensor for key, tensor in _original(part, network.state_dict()).items()}
    metadata = {"format": "pt"}
    if "unet" in parts.networks:
        prediction = parts.scheduler.get("prediction_type", "epsilon")
        metadata["modelspec.prediction_type"] = STATED[prediction]
        marked = {"v_pred": prediction == "v_prediction", "ztsnr": parts.scheduler.get("rescale_betas_zero_snr")}
        state |= {name: torch.zeros(0) for name, holds in marked.items() if holds}
    save_file(state, file, metadata)


def _architecture_of(parts: Parts) -> dict[str, Any]:
    """The description of the architecture by which a file with these parts is opened as the same pipeline.

    Raises:
        InputError: there is none.
    """
    kind = parts.kind.replace("InpaintPipeline", "Pipeline")
    found = {name: described(name) for name in dict.fromkeys(RECOGNISED.values())}
    alike = {name: text for name, text in found.items() if text["pipeline"] == kind}
    if not alike:
        known = ", ".join(sorted({text["pipeline"] for text in found.values()}))
        raise InputError(
            f"{parts.where} is a {parts.kind}, but single files support {known}: choose --format diffusers"
        )
    faults = {}
    for name, text in alike.items():
        fault = _fault(parts, name, text)
        if fault is None:
            return text
        faults[name] = fault
    reasons = "; ".join(f"not {name}, since {fault}" for name, fault in faults.items())
    raise InputError(
        f"{parts.where} cannot be a single file, which holds no config ({reasons}): choose --format diffusers"
    )


def _fault(parts: Parts, name: str, architecture: Mapping[str, Any]) -> str | None:
    """Why a file of the architecture called ``name`` would not be the pipeline that ``parts`` make; None if it is."""
    shipped = architecture["parts"]
    keys = []
    for part, network in parts.networks.items():
        if type(network).__name__ != shipped.get(part, {}).get("class"):
            return f"{part} is a {type(network).__name__}"
        state = {key: tensor.to("meta") for key, tensor in network.state_dict().items()}
        original = _original(shipped[part], state)
        keys += [_prefix(shipped[part]) + key for key in original]
        if (reason := _difference(shipped[part], network, original)) is not None:
            return f"{part} differs in {reason}"
    if recognised(keys) != name:
        return f"its keys are those of {recognised(keys)}"
    settings = odd_settings(parts.scheduler, architecture["scheduler"])
    settings += [key for key, value in architecture["settings"].items() if parts.settings.get(key, False) != value]
    return f"{first_of(settings, 3)} differs" if settings else None


def odd_settings(given: Mapping[str, Any], known: Mapping[str, Any]) -> list[str]:
    """Settings of a scheduler, with which a model was trained, that are not those of its architecture."""
    names = [key for key in SCHEDULE if key in given and (key in known or key in SWITCHES)]
    odd = [key for key in names if _plain(given[key]) != _plain(known.get(key))]
    return odd if given.get("prediction_type", "epsilon") in STATED else [*odd, "prediction_type"]


def _difference(part: Mapping[str, Any], network: Any, original: Mapping[str, Tensor]) -> str | None:
    """A setting or weights by which a network differs from that of an architecture with the same keys; None if none."""
    try:
        expected = empty_part(part, {key: tensor.shape for key, tensor in original.items()})
    except (ArithmeticError, IndexError, RuntimeError, ValueError):
        return "the shapes of its weights"
    shapes, own = ({key: each.shape for key, each in one.state_dict().items()} for one in (expected, network))
    if shapes != own:
        odd = sorted(key for key in {*shapes, *own} if shapes.get(key) != own.get(key))
        return f"{len(odd)} weights ({first_of(odd, 3)})"
    identity = part.get("identity")
    if identity and not torch.equal(matrix := network.state_dict()[identity], torch.eye(*matrix.shape).to(matrix)):
        return identity
    given, known = (
        dict(one.config) if hasattr(one.config, "items") else one.config.to_dict() for one in (network, expected)
    )
    return next((key for key in UNTOLD if _plain(given.get(key)) != _plain(known.get(key))), None)


def _original(part: Mapping[str, Any], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights by original key, without prefix."""
    return to_original(RULES[part["rule"]](state), state)


def _prefix(part: Mapping[str, Any]) -> str:
    prefix = part["prefix"]
    return str(prefix if isinstance(prefix, str) else prefix[0])


def _plain(value: Any) -> Any:
    """A setting so that equal ones are equal: no list is a tuple, and false and nothing are alike."""
    return list(value) if isinstance(value, list | tuple) else value or None
