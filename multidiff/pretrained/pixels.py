"""`DDIMPipeline` and `DDPMPipeline` of diffusers: a U-Net on pixels, without condition."""

from torch import Tensor, nn

from multidiff.codecs import Identity
from multidiff.conditioners import Conditioner
from multidiff.configuration import load_option
from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import NetworkDenoiser
from multidiff.diffusion.predictions import Prediction
from multidiff.diffusion.schedules import Schedule
from multidiff.errors import InputError
from multidiff.model import Model
from multidiff.pretrained.parts import Opened, Parts
from multidiff.pretrained.scheduler import prediction_of, sampler_of, schedule_of
from multidiff.pretrained.unet import TimestepUNet

CLIPPING = {"clip_sample": True, "clip_sample_range": 1.0}
"""Settings of both schedulers, where a config does not state them."""


class ClippedDenoiser(NetworkDenoiser):
    """A denoiser whose estimates stay within ``[-limit, limit]``."""

    def __init__(self, network: nn.Module, schedule: Schedule, prediction: Prediction, limit: float):
        super().__init__(network, schedule, prediction)
        self.limit = limit

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
    backbone = TimestepUNet(network, schedule)
    denoiser = (
        ClippedDenoiser(backbone, schedule, prediction, float(clipping["clip_sample_range"]))
        if clipping["clip_sample"]
        else NetworkDenoiser(backbone, schedule, prediction)
    )
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
