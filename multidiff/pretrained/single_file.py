"""A single ``.safetensors`` file in the layout of the original code: Stable Diffusion 1.x, 2.x and XL.

The architecture is recognised by the keys. Its configs are shipped in ``architectures/``, so nothing is fetched.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from multidiff.configuration import read_json
from multidiff.errors import InputError, first_of
from multidiff.pretrained.families import assembled
from multidiff.pretrained.keys import RULES, from_original
from multidiff.pretrained.libraries import library
from multidiff.pretrained.parts import Opened, Parts
from multidiff.pretrained.vocabulary import file_vocabulary
from multidiff.pretrained.weights import FLOATS, refused_type

log = logging.getLogger(__name__)

ARCHITECTURES = Path(__file__).parent / "architectures"

RECOGNISED = {
    "conditioner.embedders.1.model.": "stable_diffusion_xl",
    "cond_stage_model.model.transformer.": "stable_diffusion_2",
    "cond_stage_model.transformer.": "stable_diffusion_1",
}
"""Architectures by the prefix of the keys of a part that no other has."""

UNUSED = (
    *("model_ema.", "denoiser.", "alphas_cumprod", "betas", "log_one_minus_", "posterior_", "sqrt_", "logvar"),
    *("scale_factor", "cond_stage_model.logit_scale", "cond_stage_model.model.logit_scale"),
    *("conditioner.embedders.1.model.logit_scale", "model_average.", "v_pred", "ztsnr"),
)
"""Starts of keys of tables, copies and markers, which are no weights of a part."""

V_DEVIATION = 0.09
"""Of a bias of Stable Diffusion 2: above it for the models that predict v, below for those that predict the noise."""

V_BIAS = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"


def open_file(path: Path, device: str) -> Opened:
    """The pipeline in a single file; nothing is fetched.

    Raises:
        InputError: the file is damaged, of an unknown architecture, or lacks a part, or there is no tokenizer for it.
    """
    state, metadata = _read(path)
    architecture = _architecture(path, state)
    vocabularies, networks = {}, {}
    used: set[str] = set()
    for name, part in architecture["parts"].items():
        networks[name] = _network(path, part, state, used)
        if "padding" in part:
            vocabularies[name] = file_vocabulary(path, part["padding"], part["config"]["max_position_embeddings"])
    kind, ignored = architecture["pipeline"], (*UNUSED, *architecture["unused"])
    left = [key for key in state if not (key in used or key.startswith(ignored) or key.endswith("position_ids"))]
    if left:
        raise InputError(f"{path} has {len(left)} weights that are none of a {kind}: {first_of(left, 5)}")
    scheduler = {**architecture["scheduler"], **_markers(state, metadata)}
    dtype = next(state[key].dtype for key in state if key.startswith(architecture["parts"]["unet"]["prefix"]))
    parts = Parts(path, kind, networks, vocabularies, scheduler, architecture["settings"], dtype)
    return assembled(parts, str(path), device)


def _read(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """The tensors of a file, and its metadata."""
    try:
        with safe_open(path, "pt") as file:
            keys = list(file.keys())
            for key in keys:
                kind = file.get_slice(key).get_dtype()
                if kind not in FLOATS and key.startswith("model.diffusion_model."):
                    raise refused_type(path, key, kind)
            return {key: file.get_tensor(key) for key in keys}, file.metadata() or {}
    except SafetensorError as error:
        raise InputError(f"{path} is damaged or truncated ({error}); copy it again from its source") from error


def _architecture(path: Path, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The shipped description of the architecture that the keys of ``state`` have."""
    for prefix, name in RECOGNISED.items():
        if any(key.startswith(prefix) for key in state):
            return dict(read_json(ARCHITECTURES / f"{name}.json"))
    found = sorted({".".join(key.split(".")[:2]) for key in state})
    raise InputError(
        f"{path} is of an unknown architecture: its keys begin with {first_of(found, 5) or 'nothing'}; single files "
        "of Stable Diffusion 1.x, 2.x and XL open, with their autoencoder and text encoders; of other pipelines give "
        "the folder that diffusers saved, and a LoRA with --lora"
    )


def _network(path: Path, part: Mapping[str, Any], state: Mapping[str, Tensor], used: set[str]) -> Any:
    """The network of a part with its weights, in float32, frozen; their keys are added to ``used``."""
    config, prefix = dict(part["config"]), part["prefix"]
    own = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
    if part["rule"] == "unet" and "input_blocks.0.0.weight" in own:
        config["in_channels"] = own["input_blocks.0.0.weight"].shape[1]
    network = _empty(part["library"], part["class"], config)
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    names = RULES[part["rule"]](shapes)
    found = {name: tensor.float() for name, tensor in from_original(names, own, shapes).items()}
    missing = [prefix + names[name] for name in shapes if name not in found and not name.endswith("position_ids")]
    misshapen = [prefix + names[name] for name, tensor in found.items() if tensor.shape != shapes[name]]
    for what, keys in {"lacks": missing, "has misshapen": misshapen}.items():
        if keys:
            count = f"{what} {len(keys)} weights"
            raise InputError(f"{path} does not hold a {part['class']}: it {count}: {first_of(keys, 5)}")
    network.load_state_dict(found, assign=True, strict=False)
    used |= {prefix + names[name] for name in found}
    return network.eval().requires_grad_(False)


def _empty(library_name: str, kind: str, config: Mapping[str, Any]) -> Any:
    """A network without weights; its tables of positions are real."""
    module = library(library_name)
    with library("accelerate").init_empty_weights():
        if library_name == "diffusers":
            return getattr(module, kind).from_config(config)
        return getattr(module, kind)(module.CLIPTextConfig(**config))


def _markers(state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, Any]:
    """What the file says of its prediction and schedule, as settings of a scheduler.

    Empty tensors ``v_pred`` and ``ztsnr`` mark v and zero terminal SNR; ``modelspec.prediction_type`` of the metadata
    tells the prediction. Stable Diffusion 2 has neither: a bias that is large in models that predict v tells it.
    """
    stated = {"epsilon": "epsilon", "v": "v_prediction"}.get(metadata.get("modelspec.prediction_type", ""))
    if stated is None and "v_pred" in state:
        stated = "v_prediction"
    if stated is None and V_BIAS in state and any(key.startswith("cond_stage_model.model.") for key in state):
        by_v = float(torch.std(state[V_BIAS].float(), unbiased=False)) > V_DEVIATION
        stated = "v_prediction" if by_v else "epsilon"
        log.warning("the file does not say what it predicts; by one of its weights it is %s", stated)
    settings: dict[str, Any] = {} if stated is None else {"prediction_type": stated}
    if "ztsnr" in state:
        settings |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return settings
