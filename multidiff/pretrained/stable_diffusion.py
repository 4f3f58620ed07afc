"""Stable Diffusion 1.x, 2.x and XL, and their inpainting models: a U-Net on latents, with the states of CLIP."""

from multidiff.conditioners import Conditioner
from multidiff.configuration import load_option
from multidiff.model import Model
from multidiff.pretrained.autoencoder import AutoencoderCodec
from multidiff.pretrained.denoiser import UNetDenoiser
from multidiff.pretrained.parts import Opened, Parts
from multidiff.pretrained.scheduler import prediction_of, sampler_of, schedule_of
from multidiff.pretrained.text import PromptConditioner, Tower

GUIDANCE, GUIDANCE_XL = 7.5, 5.0
"""Default scales of guidance, those of diffusers."""


def stable_diffusion(parts: Parts) -> Opened:
    """The pipeline that ``parts`` make.

    Raises:
        InputError: they do not fit together, or the scheduler is of a kind that is not supported.
    """
    xl = "XL" in parts.kind
    schedule, prediction = schedule_of(parts.scheduler), prediction_of(parts.scheduler)
    codec, network = AutoencoderCodec(parts.networks["vae"]), parts.networks["unet"]
    towers = [
        Tower(
            parts.networks[name],
            vocabulary,
            layer=-2 if xl else -1,
            pooled="text_embeds" if hasattr(parts.networks[name], "text_projection") else None,
        )
        for name, vocabulary in parts.vocabularies.items()
    ]
    prompts = PromptConditioner(towers, empty_is_zero=bool(parts.settings.get("force_zeros_for_empty_prompt", False)))
    own = network.config.in_channels
    masked = own == 2 * codec.channels + 1
    parts.check_widths(
        "U-Net",
        {
            "in_channels": (own, own if masked else codec.channels, "the latents of the autoencoder have"),
            "cross_attention_dim": (
                network.config.cross_attention_dim,
                prompts.token_dim,
                "the states of the text encoders have",
            ),
        },
    )
    denoiser = UNetDenoiser(network, schedule, prediction, codec.factor, masked)
    size = network.config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    return Opened(
        Model(codec, Conditioner({"caption": prompts}), denoiser),
        {**load_option("modality", "image"), "channels": codec.data_channels},
        (codec.channels, height, width),
        sampler_of(parts.scheduler),
        GUIDANCE_XL if xl else GUIDANCE,
    )
