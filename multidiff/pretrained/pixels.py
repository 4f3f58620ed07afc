"""`DDIMPipeline` and `DDPMPipeline` of diffusers: a U-Net on pixels, without condition."""

from torch import Tensor

from multidiff.codecs import Identity
from multidiff.conditioners import Conditioner
from multidiff.configuration import load_option
from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import NetworkDenoiser
from multidiff.errors import InputError
from multidiff.model import Model
from multidiff.pretrained.parts import Opened, Parts
from multidiff.pretrained.scheduler import prediction_of, sampler_of, schedule_of
from multidiff.pretrained.unet import TimestepUNet

CLIPPING = {"clip_sample": True, "clip_sample_range": 1.0}
"""Settings of both schedulers, where a config does not state them."""


class ClippedDenoiser(NetworkDenoiser):
    """A denoiser whose estimates stay within ``[-limit, limit]``."""

    limit: float

    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        cond: Conditioning | None = None,
        s: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> Tensor:
        return super().forward(x_t, t, cond, s, scale).clamp(-self.limit, self.limit)


def pixels(parts: Parts) -> Opened:
    """The pipeline that ``parts`` make.

    Raises:
        InputError: the network reads classes, or the scheduler is of a kind that is not supported.
    """
    network, clipping = parts.networks["unet"], {**CLIPPING, **parts.scheduler}
    if network.class_embedding is not None:
        raise InputError(f"{parts.where}/unet reads classes, and a folder of diffusers does not name them")
    schedule, prediction = schedule_of(parts.scheduler), prediction_of(parts.scheduler)
    denoiser = NetworkDenoiser(TimestepUNet(network, schedule), schedule, prediction)
    if clipping["clip_sample"]:
        denoiser = ClippedDenoiser(denoiser.network, schedule, prediction)
        denoiser.limit = float(clipping["clip_sample_range"])
    channels, size = network.config.in_channels, network.config.sample_size
    sampler = sampler_of({**parts.scheduler, "clip_sample": False})
    if parts.kind == "DDPMPipeline":
        sampler["steps"] = schedule.count
    height, width = (size, size) if isinstance(size, int) else size
    return Opened(
        Model(Identity(), Conditioner({}), denoiser),
        {**load_option("modality", "image"), "channels": channels},
        (channels, height, width),
        sampler,
        guidance=1.0,
    )
