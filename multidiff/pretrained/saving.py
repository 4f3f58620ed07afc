"""Folders that diffusers opens: of a pipeline that was opened here, or of a model that was trained here."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from multidiff.codecs import Identity
from multidiff.conditioners import LabelConditioner
from multidiff.diffusion.discrete import Betas
from multidiff.errors import InputError
from multidiff.model import Model
from multidiff.pretrained.folder import INDEX
from multidiff.pretrained.libraries import library
from multidiff.pretrained.networks import networks_of
from multidiff.pretrained.scheduler import PREDICTIONS
from multidiff.pretrained.unet import TimestepUNet
from multidiff.pretrained.weights import FLOATS, PICKLES, find_weights

NAMES = {kind: name for name, kind in PREDICTIONS.items()}
"""What diffusers calls each prediction."""

PLAIN = """```python
from diffusers import DDIMPipeline

images = DDIMPipeline.from_pretrained("{path}")(batch_size=4).images
```
"""
"""How diffusers samples a model without condition."""

CLASSES = """Classes: {numbers}. {none} means no class.

```python
import torch
from diffusers import DDIMPipeline

pipe = DDIMPipeline.from_pretrained("{path}")  # calling it has no argument for classes
unet, scheduler = pipe.unet, pipe.scheduler
labels, none = torch.tensor([0]), torch.tensor([{none}])
size, guidance = unet.config.sample_size, 1.5
x = torch.randn(len(labels), unet.config.in_channels, *size)
scheduler.set_timesteps(50)
with torch.no_grad():
    for t in scheduler.timesteps:
        without = unet(x, t, none).sample
        output = without + guidance * (unet(x, t, labels).sample - without)
        x = scheduler.step(output, t, x).prev_sample
images = pipe.numpy_to_pil((x / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy())
```
"""
"""How diffusers samples a model with classes."""


def save_folder(model: Model, source: Path, folder: Path) -> None:
    """Save ``model`` as a folder that diffusers opens, with fused LoRAs inside its weights.

    Configs, tokenizers, the scheduler and parts that are not used here, such as a safety checker, are those of
    ``source``. Weights have the files, keys and types that they have there, so that an unchanged model gives the same
    bytes.

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
    networks = networks_of(model)

    def replaced(place: str, names: Sequence[str]) -> list[str]:
        """Weights in a folder that are replaced, or that no part reads."""
        inside = Path(place).relative_to(source).parts
        own = not inside or inside[0] in networks
        return [name for name in names if own and Path(name).suffix in (".safetensors", *PICKLES)]

    shutil.copytree(source, folder, ignore=replaced, dirs_exist_ok=True)
    for part, network in networks.items():
        state = network.state_dict()
        kind = "transformers" if part.startswith("text_encoder") else "diffusers"
        for file in find_weights(source / part, kind).files:
            _rewrite(file, state, folder / part / file.name)


@torch.no_grad()
def save_trained(model: Model, size: Sequence[int], folder: Path) -> None:
    """Save a model that was trained with ``backbone=unet_diffusers`` as a folder of diffusers' `DDIMPipeline`.

    With the same noise, the pipeline gives what the sampler ``ddim`` gives here on trailing timesteps. The U-Net of a
    model with classes reads their numbers, in the order of their names; the number after the last means no class.

    Args:
        model: of images.
        size: their height and width.
        folder: new or empty.

    Raises:
        InputError: diffusers has no counterpart of a part of the model; the message names all of them.
    """
    backbone = _backbone(model)
    schedule, network = backbone.schedule, backbone.network
    diffusers = library("diffusers")
    scheduler = diffusers.DDIMScheduler(
        num_train_timesteps=schedule.count,
        trained_betas=schedule.betas,
        rescale_betas_zero_snr=schedule.zero_terminal_snr,
        prediction_type=NAMES[type(model.denoiser.prediction)],
        clip_sample=False,
        timestep_spacing="trailing",
    )
    settings: dict[str, Any] = {
        **{name: value for name, value in network.config.items() if not name.startswith("_")},
        "sample_size": list(size),
    }
    state = network.state_dict()
    for part in model.conditioner:
        assert backbone.vector is not None
        vectors = backbone.vector(part.embedding.weight)
        state["class_embedding.weight"] = torch.cat([vectors, torch.zeros_like(vectors[:1])])
        settings |= {"class_embed_type": None, "num_class_embeds": len(part.choices) + 1}
    unet = diffusers.UNet2DModel.from_config(settings)
    unet.load_state_dict(state)
    diffusers.DDIMPipeline(unet, scheduler).save_pretrained(folder, safe_serialization=True)


def diffusers_example(model: Model, path: str) -> str:
    """Markdown that tells how diffusers samples the folder that `save_trained` wrote to ``path``."""
    for part in model.conditioner:
        numbers = ", ".join(f"{i} {name}" for i, name in enumerate(part.choices))
        return CLASSES.format(path=path, numbers=numbers, none=len(part.choices))
    return PLAIN.format(path=path)


def _backbone(model: Model) -> TimestepUNet:
    """The backbone of a model whose parts diffusers has, too.

    Raises:
        InputError: it has others.
    """
    denoiser, conditions = model.denoiser, list(model.conditioner)
    labelled = not conditions or (len(conditions) == 1 and isinstance(conditions[0], LabelConditioner))
    parts: list[tuple[bool, str, object, str]] = [
        (isinstance(denoiser.network, TimestepUNet), "network", denoiser.network, "backbone=unet_diffusers"),
        (isinstance(denoiser.schedule, Betas), "schedule", denoiser.schedule, "schedule=betas_linear"),
        (type(denoiser.prediction) in NAMES, "prediction", denoiser.prediction, "prediction=epsilon or velocity"),
        (isinstance(model.codec, Identity), "codec", model.codec, "codec=identity"),
        (labelled, "conditioner", model.conditioner, "conditioning=label or none"),
    ]
    odd = [f"{name} {type(part).__name__} (train with {way})" for fits, name, part, way in parts if not fits]
    if odd or not isinstance(denoiser.network, TimestepUNet):
        raise InputError(f"diffusers has no counterpart of the {', the '.join(odd)}")
    return denoiser.network


def _rewrite(file: Path, state: Mapping[str, Tensor], path: Path) -> None:
    """Write the weights that ``file`` holds, with the values of ``state`` and the types of ``file``."""
    with safe_open(file, "pt") as old:
        types = {key: FLOATS.get(old.get_slice(key).get_dtype()) for key in old.keys()}  # noqa: SIM118
        tensors = {
            key: state[key].to("cpu", dtype).contiguous() if key in state and dtype else old.get_tensor(key)
            for key, dtype in types.items()
        }
        save_file(tensors, path, old.metadata())
