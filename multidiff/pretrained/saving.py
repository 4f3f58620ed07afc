"""An opened folder of diffusers, saved again with the present weights."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from multidiff.errors import InputError
from multidiff.model import Model
from multidiff.pretrained.folder import INDEX
from multidiff.pretrained.networks import networks_of
from multidiff.pretrained.weights import FLOATS, find_weights


def save_folder(model: Model, source: Path, folder: Path) -> None:
    """Save ``model`` as a folder that diffusers opens, with fused LoRAs inside its weights.

    Configs, tokenizers and the scheduler are those of ``source``. Weights have the files, keys and types that they have
    there, so that an unchanged model gives the same bytes.

    Args:
        model: that was opened from ``source``.
        source: a folder of diffusers.
        folder: new or empty.

    Raises:
        InputError: ``source`` is not a folder of diffusers, or ``folder`` holds something.
    """
    if not (source / INDEX).is_file():
        raise InputError(f"{source} is not a folder of diffusers: it has no {INDEX}")
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not an empty folder; choose another, or remove it")
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors"), dirs_exist_ok=True)
    for part, network in networks_of(model).items():
        state = network.state_dict()
        kind = "transformers" if part.startswith("text_encoder") else "diffusers"
        for file in find_weights(source / part, kind).files:
            _rewrite(file, state, folder / part / file.name)


def _rewrite(file: Path, state: Mapping[str, Tensor], path: Path) -> None:
    """Write the weights that ``file`` holds, with the values of ``state`` and the types of ``file``."""
    with safe_open(file, "pt") as old:
        types = {key: FLOATS.get(old.get_slice(key).get_dtype()) for key in old.keys()}  # noqa: SIM118
        tensors = {
            key: state[key].to("cpu", dtype).contiguous() if key in state and dtype else old.get_tensor(key)
            for key, dtype in types.items()
        }
        save_file(tensors, path, old.metadata())
