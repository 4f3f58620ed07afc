"""The networks of an opened pipeline, by the names of its parts."""

from torch import nn

from multidiff.model import Model
from multidiff.pretrained.autoencoder import AutoencoderCodec
from multidiff.pretrained.denoiser import UNetDenoiser
from multidiff.pretrained.oobleck import OobleckCodec
from multidiff.pretrained.stable_audio import SecondsConditioner
from multidiff.pretrained.text import PromptConditioner
from multidiff.pretrained.unet import TimestepUNet


def networks_of(model: Model) -> dict[str, nn.Module]:
    """``unet`` or ``transformer``, ``text_encoder`` and further ones with their number, and ``vae``."""
    network = model.denoiser.network
    networks = {"unet" if isinstance(model.denoiser, UNetDenoiser) else "transformer": network}
    if isinstance(network, TimestepUNet):
        networks = {"unet": network.network}
    for part in model.conditioner:
        if isinstance(part, PromptConditioner):
            for i, encoder in enumerate(part.encoders):
                networks[f"text_encoder{'' if i == 0 else f'_{i + 1}'}"] = encoder
        if isinstance(part, SecondsConditioner):
            networks["projection_model"] = part.projection
    if isinstance(model.codec, AutoencoderCodec | OobleckCodec):
        networks["vae"] = model.codec.network
    return networks
