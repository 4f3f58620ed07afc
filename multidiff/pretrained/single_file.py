"""A single ``.safetensors`` file in the layout of the original code: Stable Diffusion 1.x, 2.x, XL and 3, and Flux.

The architecture is recognised by the keys. Its configs are shipped in ``architectures/``, so nothing is fetched. Parts
that the file lacks come from beside it.
"""

import hashlib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multidiff.configuration import read_json
from multidiff.data.files import sha256
from multidiff.errors import InputError, first_of
from multidiff.pretrained.companions import companion, missing
from multidiff.pretrained.deduced import Shapes, deduced_config
from multidiff.pretrained.families import FAMILIES, assembled, built
from multidiff.pretrained.flow_transformers import T5_LENGTH
from multidiff.pretrained.folder import folder_hash
from multidiff.pretrained.keys import RULES, from_original
from multidiff.pretrained.outline import Outline, empty_network, outlined_part
from multidiff.pretrained.parts import Opened, Parts
from multidiff.pretrained.tensor_file import TensorFile
from multidiff.pretrained.vocabulary import Vocabulary, file_t5_vocabulary, file_vocabulary
from multidiff.pretrained.weights import load_part, loaded_type

log = logging.getLogger(__name__)

ARCHITECTURES = Path(__file__).parent / "architectures"

DIFFUSION = "model.diffusion_model."
"""Prefix of the keys of the denoiser, which files of it alone may leave out."""

RECOGNISED = {
    "conditioner.embedders.1.model.": "stable_diffusion_xl",
    "cond_stage_model.model.transformer.": "stable_diffusion_2",
    "cond_stage_model.transformer.": "stable_diffusion_1",
    "joint_blocks.0.context_block.": "stable_diffusion_3",
    "guidance_in.in_layer.": "flux_dev",
    "double_blocks.0.img_attn.norm.key_norm.scale": "flux_schnell",
}
"""Architectures by the start of keys that no other one, or none after it, has; without `DIFFUSION`."""

UNUSED = (
    *("model_ema.", "denoiser.", "alphas_cumprod", "betas", "log_one_minus_", "posterior_", "sqrt_", "logvar"),
    *("scale_factor", "cond_stage_model.logit_scale", "cond_stage_model.model.logit_scale"),
    *("conditioner.embedders.1.model.logit_scale", "model_average.", "v_pred", "ztsnr"),
    *("text_encoders.clip_l.logit_scale", "text_encoders.clip_g.logit_scale", "text_encoders.t5xxl.logit_scale"),
    *("text_encoders.clip_l.transformer.text_projection.", "text_encoders.t5xxl.transformer.encoder.embed_tokens."),
)
"""Starts of keys of tables, copies and markers, which are no weights of a part."""

V_DEVIATION = 0.09
"""Of a bias of Stable Diffusion 2: above it for the models that predict v, below for those that predict the noise."""

V_BIAS = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"


def open_file(path: Path, device: str) -> Opened:
    """The pipeline in a single file; nothing is fetched.

    Raises:
        InputError: the file is damaged, of an unknown architecture, or lacks a part that is not beside it, or there is
            no tokenizer for it.
    """
    return assembled(file_parts(path, device), str(path), device)


def file_parts(path: Path, device: str | None) -> Parts:
    """The parts in a single file and beside it, in the type for a device; None: each in that of its file.

    Raises:
        InputError: as for `open_file`.
    """
    file = TensorFile(path)
    architecture = _architecture(file)
    kind, parts = architecture["pipeline"], architecture["parts"]
    stored = file.dtype(_prefix(file, parts[FAMILIES[kind].denoiser]) or "")
    dtype = None if device is None else loaded_type(stored, device)
    vocabularies, networks = {}, {}
    used: set[str] = set()
    for name, source in _sources(file, architecture).items():
        part = parts[name]
        if source == path:
            networks[name] = _network(file, part, used, dtype)
        elif source.is_dir():
            networks[name] = load_part(source, part["library"], part["class"], dtype)
        else:
            networks[name] = _companion_network(source, part, dtype)
        if name.startswith("text_encoder"):
            vocabularies[name] = _vocabulary(path, name, part, kind)
    _refuse_left(file, used, (*UNUSED, *architecture["unused"]), f"a {kind}")
    scheduler = {**architecture["scheduler"], **_markers(file, file.metadata)}
    return Parts(path, kind, networks, vocabularies, scheduler, architecture["settings"], dtype or stored)


def outline_file(path: Path) -> Outline:
    """What a single file is, by its keys.

    Raises:
        InputError: the file is damaged, or of an unknown architecture.
    """
    file = TensorFile(path)
    architecture = _architecture(file)
    kind, parts = architecture["pipeline"], architecture["parts"]
    prefixes = {name: _prefix(file, part) for name, part in parts.items()}
    networks = {
        name: _without_weights(file, parts[name], prefix) for name, prefix in prefixes.items() if prefix is not None
    }
    try:
        vocabularies = {}
        for name, source in _sources(file, architecture).items():
            part = parts[name]
            if source.is_dir():
                networks[name] = outlined_part(source, part["library"], part["class"])
            elif name not in networks:
                networks[name] = _without_weights(TensorFile(source), part, "")
            if name.startswith("text_encoder"):
                vocabularies[name] = _vocabulary(path, name, part, kind)
        scheduler = {**architecture["scheduler"], **_markers(file, file.metadata)}
        made = Parts(path, kind, networks, vocabularies, scheduler, architecture["settings"], torch.float32)
        return Outline(kind, networks, built(made, str(path)))
    except InputError as error:
        return Outline(kind, networks, None, str(error))


def file_hash(path: Path) -> str:
    """One hash of a single file and of the parts beside it that it lacks; the file's own if it lacks none.

    Raises:
        InputError: it is no pipeline, or lacks a part that is not beside it.
    """
    file = TensorFile(path)
    sources = {name: source for name, source in _sources(file, _architecture(file)).items() if source != path}
    digest = sha256(path)
    for name, source in sources.items():
        other = folder_hash(source) if source.is_dir() else sha256(source)
        digest = hashlib.sha256(f"{digest} {name} {other}".encode()).hexdigest()
    return digest


def recognised(keys: Iterable[str]) -> str | None:
    """The name of the architecture of a file with these keys; None if it is unknown."""
    bare = [key.removeprefix(DIFFUSION) for key in keys]
    return next((name for start, name in RECOGNISED.items() if any(key.startswith(start) for key in bare)), None)


def described(name: str) -> dict[str, Any]:
    """The shipped description of an architecture."""
    return dict(read_json(ARCHITECTURES / f"{name}.json"))


def _architecture(file: TensorFile) -> dict[str, Any]:
    """The shipped description of the architecture that the keys of ``file`` have."""
    name = recognised(file)
    if name is not None:
        return described(name)
    found = sorted({".".join(key.split(".")[:2]) for key in file})
    raise InputError(
        f"{file.path} is of an unknown architecture: its keys begin with {first_of(found, 5) or 'nothing'}; supported "
        "are Stable Diffusion 1.x, 2.x and XL with their autoencoder and text encoders, SD 3 and Flux; for other "
        "pipelines give the folder that diffusers saved, and a LoRA with --lora"
    )


def _sources(file: TensorFile, architecture: Mapping[str, Any]) -> dict[str, Path]:
    """Where each part is: in the file, or in a file or a folder beside it; an optional part may be nowhere.

    Raises:
        InputError: a part is nowhere.
    """
    found = {}
    for name, part in architecture["parts"].items():
        if "beside" not in part or _prefix(file, part) is not None:
            found[name] = file.path
        elif (source := companion(file.path, name, part)) is not None:
            found[name] = source
        elif not part.get("optional"):
            raise missing(file.path, name, part)
    return found


def _prefix(file: TensorFile, part: Mapping[str, Any]) -> str | None:
    """The prefix of the keys of a part, the first that the file has; None: it has none of them."""
    given = part["prefix"]
    return next((each for each in ([given] if isinstance(given, str) else given) if _has(file, each)), None)


def _has(file: TensorFile, prefix: str) -> bool:
    return any(key.startswith(prefix) for key in file)


def _network(
    file: TensorFile, part: Mapping[str, Any], used: set[str], dtype: torch.dtype | None, prefix: str | None = None
) -> Any:
    """The network of a part with its weights, in ``dtype``, frozen; their keys are added to ``used``.

    None is the type of the file.
    """
    if prefix is None:
        prefix = _prefix(file, part) or (part["prefix"] if isinstance(part["prefix"], str) else "")
    network = _without_weights(file, part, prefix)
    own = {key.removeprefix(prefix) for key in file if key.startswith(prefix)}
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    names, dtype = RULES[part["rule"]](shapes), dtype or file.dtype(prefix)
    original = {key: file[prefix + key] for key in set(names.values()) & own}
    found = {name: tensor.to(dtype) for name, tensor in from_original(names, original, shapes).items()}
    used |= {prefix + key for key in original}
    if identity := part.get("identity"):  # the vector of this encoder is read without its projection
        found[identity] = torch.eye(*shapes[identity], dtype=dtype)
    lacking = [prefix + names[name] for name in shapes if name not in found and not name.endswith("position_ids")]
    misshapen = [prefix + names[name] for name, tensor in found.items() if tensor.shape != shapes[name]]
    for what, keys in {"lacks": lacking, "has misshapen": misshapen}.items():
        if keys:
            count = f"{what} {len(keys)} weights"
            raise InputError(f"{file.path} does not hold a {part['class']}: it {count}: {first_of(keys, 5)}")
    network.load_state_dict(found, assign=True, strict=False)
    return network.eval().requires_grad_(False)


def _without_weights(file: TensorFile, part: Mapping[str, Any], prefix: str) -> Any:
    """The network of a part, whose weights have shapes alone."""
    own = {key.removeprefix(prefix): shape for key, shape in file.shapes.items() if key.startswith(prefix)}
    try:
        return empty_part(part, own)
    except (ArithmeticError, IndexError, RuntimeError, ValueError) as error:
        raise InputError(f"{file.path} does not hold a {part['class']}: its weights have unexpected shapes") from error


def _companion_network(path: Path, part: Mapping[str, Any], dtype: torch.dtype | None) -> Any:
    """The network in a file beside the single file, whose keys have no prefix."""
    file, used = TensorFile(path), set[str]()
    network = _network(file, part, used, dtype, "")
    _refuse_left(file, used, ("logit_scale", "text_projection.", "encoder.embed_tokens."), f"a {part['class']}")
    return network


def _refuse_left(file: TensorFile, used: set[str], ignored: tuple[str, ...], what: str) -> None:
    """Refuse a file with weights that were not used.

    Raises:
        InputError: it has some.
    """
    left = [key for key in file if not (key in used or key.startswith(ignored) or key.endswith("position_ids"))]
    if left:
        raise InputError(f"{file.path} has {len(left)} weights that do not belong to {what}: {first_of(left, 5)}")


def _vocabulary(path: Path, name: str, part: Mapping[str, Any], kind: str) -> Vocabulary:
    """The tokenizer of the text encoder ``name`` of the single file ``path``."""
    if part["rule"] == "t5":
        return file_t5_vocabulary(path, name.replace("text_encoder", "tokenizer"), T5_LENGTH[kind])
    return file_vocabulary(path, part["padding"], part["config"]["max_position_embeddings"])


def empty_part(part: Mapping[str, Any], shapes: Shapes) -> Any:
    """The network of a part of an architecture, without weights, for weights of ``shapes`` by original key."""
    return empty_network(part["library"], part["class"], deduced_config(part["rule"], part["config"], shapes))


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
        log.warning("the file does not state its prediction type; one of its weights suggests %s", stated)
    settings: dict[str, Any] = {} if stated is None else {"prediction_type": stated}
    if "ztsnr" in state:
        settings |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return settings
