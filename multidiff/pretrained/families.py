"""The families of pretrained pipelines: which parts each has, and how they make a model."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from multidiff.errors import InputError
from multidiff.pretrained.flow_transformers import flux, stable_diffusion_3
from multidiff.pretrained.parts import Opened, Parts
from multidiff.pretrained.pixels import pixels
from multidiff.pretrained.stable_audio import stable_audio
from multidiff.pretrained.stable_diffusion import stable_diffusion


@dataclass(frozen=True)
class Family:
    """Pipelines of one class of diffusers.

    Attributes:
        denoiser: the part that denoises.
        encoders: number of text encoders that it needs, each with a tokenizer.
        build: the model from its parts.
        optional: further text encoders, each with a tokenizer, which may be left out.
        further: other parts.
        autoencoder: whether it has one; without, it generates pixels.
        trains: whether it can be trained further here: pictures with captions.
    """

    denoiser: str
    encoders: int
    build: Callable[[Parts], Opened]
    optional: tuple[str, ...] = ()
    further: tuple[str, ...] = ()
    autoencoder: bool = True
    trains: bool = True

    @property
    def parts(self) -> tuple[str, ...]:
        """Folders that a pipeline needs; others, such as a safety checker, are not used."""
        numbers = ["" if i == 1 else f"_{i}" for i in range(1, self.encoders + 1)]
        texts = [f"{part}{number}" for number in numbers for part in ("text_encoder", "tokenizer")]
        return (self.denoiser, *(["vae"] if self.autoencoder else []), "scheduler", *texts, *self.further)


FAMILIES = {
    "StableDiffusionPipeline": Family("unet", 1, stable_diffusion),
    "StableDiffusionInpaintPipeline": Family("unet", 1, stable_diffusion),
    "StableDiffusionXLPipeline": Family("unet", 2, stable_diffusion),
    "StableDiffusionXLInpaintPipeline": Family("unet", 2, stable_diffusion),
    "StableDiffusion3Pipeline": Family("transformer", 2, stable_diffusion_3, optional=("text_encoder_3",)),
    "FluxPipeline": Family("transformer", 2, flux),
    "StableAudioPipeline": Family("transformer", 1, stable_audio, further=("projection_model",), trains=False),
    "DDIMPipeline": Family("unet", 0, pixels, autoencoder=False, trains=False),
    "DDPMPipeline": Family("unet", 0, pixels, autoencoder=False, trains=False),
}
"""By the class of the pipeline."""


def assembled(parts: Parts, scheduler_file: str, device: str) -> Opened:
    """The pipeline that ``parts`` make, on a device: in float32 on a CPU, else in the precision of its files.

    Args:
        parts: of a supported family.
        scheduler_file: where the config of the scheduler is from, for messages.
        device: such as ``cpu`` or ``cuda:0``.

    Raises:
        InputError: the parts do not fit together, or the scheduler is of a kind that is not supported.
    """
    opened = built(parts, scheduler_file)
    if torch.device(device).type != "cpu":
        opened.model.to(parts.dtype)
    opened.model.to(device)
    return opened


def built(parts: Parts, scheduler_file: str) -> Opened:
    """The pipeline that ``parts`` make, where they are and as they are; their weights may be missing.

    Args:
        parts: of a supported family.
        scheduler_file: as for `assembled`.

    Raises:
        InputError: as for `assembled`.
    """
    try:
        return FAMILIES[parts.kind].build(parts)
    except InputError as error:
        if str(parts.where) in str(error):
            raise
        raise InputError(f"{scheduler_file}: {error}") from error
    except (ValueError, TypeError) as error:  # impossible values in the config of the scheduler
        raise InputError(f"{scheduler_file}: {error}") from error
