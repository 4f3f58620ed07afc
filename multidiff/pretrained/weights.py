"""The weights of one part of a pipeline: which safetensors files hold them, and their model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from multidiff.conditioners.pretrained_text import quiet
from multidiff.configuration import read_json
from multidiff.errors import InputError, first_of
from multidiff.pretrained.libraries import library

STEMS = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}
"""Names of weight files by library, without variant and suffix."""

VARIANTS = (None, "fp16", "bf16")
"""Of the same weights, the first that is there is read."""

PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")

FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Types of weights, by their names in safetensors."""

INTEGERS = {"I64", "I32", "BOOL"}
"""Types of the tables of positions that old checkpoints hold."""


@dataclass(frozen=True)
class Weights:
    """The safetensors files of a part.

    Attributes:
        files: in the order of their names.
        variant: part of their names: None, "fp16" or "bf16".
        dtype: of the first floating-point tensor.
    """

    files: Sequence[Path]
    variant: str | None
    dtype: torch.dtype


def find_weights(folder: Path, kind: str) -> Weights:
    """The weights in the ``folder`` of a part that the library ``kind`` saved.

    Raises:
        InputError: they are missing, are a pickle, or a file is damaged, missing or of a type that is not read.
    """
    stem = STEMS[kind]
    for variant in VARIANTS:
        names = [f"{stem}.{variant}.safetensors" if variant else f"{stem}.safetensors"]
        index = f"{stem}.safetensors.index.{variant}.json" if variant else f"{stem}.safetensors.index.json"
        if (folder / index).is_file():
            names = _shards(folder / index)
        elif not (folder / names[0]).is_file():
            continue
        files = [folder / name for name in names]
        missing = [path.name for path in files if not path.is_file()]
        if missing:
            raise InputError(f"{folder}/ lacks {first_of(missing, 3)}, which {index} names: copy the folder again")
        return Weights(files, variant, _dtype(files))
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
    if pickles:
        raise refused_pickle(folder / pickles[0])
    raise InputError(f"{folder}/ holds no weights: {stem}.safetensors is missing; copy the folder again")


def refused_pickle(path: Path) -> InputError:
    """The error for a file of weights that may run code when it is read."""
    return InputError(
        f"{path} is a pickle, which can run any code when it is read: MultiDiff opens .safetensors alone; get that "
        "file from the same source, or convert it on an isolated machine"
    )


def refused_type(path: Path, key: str, kind: str) -> InputError:
    """The error for weights in a type that is not read."""
    return InputError(f"{path}: {key} has the type {kind}; supported: {', '.join(FLOATS)}, not quantised weights")


def loaded_type(stored: torch.dtype, device: str) -> torch.dtype:
    """The type in which weights are loaded for a device: float32 for a CPU, else that in which they are ``stored``."""
    return torch.float32 if torch.device(device).type == "cpu" else stored


def load_part(folder: Path, kind: str, name: str, dtype: torch.dtype | None) -> Any:
    """The model of class ``name`` of the library ``kind`` that ``folder`` holds, frozen; in its own type if None.

    Raises:
        InputError: the folder does not hold exactly the weights of that model.
    """
    module, weights = library(kind), find_weights(folder, kind)
    settings: dict[str, Any] = {"local_files_only": True, "use_safetensors": True, "output_loading_info": True}
    dtype = weights.dtype if dtype is None else dtype
    settings["torch_dtype" if kind == "diffusers" else "dtype"] = dtype
    if weights.variant:
        settings["variant"] = weights.variant
    try:
        with quiet(module.utils.logging):
            network, report = getattr(module, name).from_pretrained(folder, **settings)
    except Exception as error:  # a damaged config or file raises any exception
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{folder}/ cannot be opened as a {name}: {reason}") from error
    wrong = {
        "lacks": [key for key in report["missing_keys"] if not key.endswith("position_ids")],
        "has unknown": [key for key in report["unexpected_keys"] if not key.endswith("position_ids")],
        "has misshapen": [str(key[0] if isinstance(key, tuple) else key) for key in report["mismatched_keys"]],
    }
    faults = [f"{what} weights ({first_of(sorted(keys), 5)})" for what, keys in wrong.items() if keys]
    if faults:
        raise InputError(f"{folder}/ does not hold the {name} that its config describes: it {' and '.join(faults)}")
    if kind == "transformers":
        network.to(dtype)  # some layers of T5 are in float32, whatever was asked for
    return network.eval().requires_grad_(False)


def _shards(index: Path) -> list[str]:
    content = read_json(index)
    names = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(names, dict) or not names or not all(map(_is_name, names.values())):
        raise InputError(f"{index} is damaged: it has no weight_map of files beside it; copy the folder again")
    return sorted(set(names.values()))


def _is_name(name: Any) -> bool:
    """Whether ``name`` is that of a file in the same folder; the file may be a link, as in the cache of the hub."""
    return isinstance(name, str) and Path(name).name == name and "\0" not in name


def _dtype(files: Sequence[Path]) -> torch.dtype:
    """The type of the floating-point weights in ``files``, every one of which is a whole safetensors file."""
    found: torch.dtype | None = None
    for path in files:
        try:
            with safe_open(path, "pt") as file:
                kinds = {key: file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise InputError(f"{path} is damaged or truncated ({error}); copy it again from its source") from error
        for key, kind in kinds.items():
            if kind not in FLOATS and kind not in INTEGERS:
                raise refused_type(path, key, kind)
            found = found or FLOATS.get(kind)
    if found is None:
        raise InputError(f"{files[0]} holds no weights")
    return found
