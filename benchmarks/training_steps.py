"""Whole training steps, ours and those of other libraries, as functions that make one."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from audio_diffusion_pytorch import DiffusionModel, UNetV0, VDiffusion, VSampler
from denoising_diffusion_pytorch import GaussianDiffusion, Unet
from diffusers import DDPMScheduler, UNet2DModel
from diffusers.training_utils import EMAModel
from ema_pytorch import EMA as DDPM_EMA
from torch import Tensor, nn

from multidiff.configuration import instantiate, load_option
from multidiff.diffusion.denoiser import NetworkDenoiser
from multidiff.diffusion.objectives import Context, Denoising, Uniform, UniformWeighting
from multidiff.diffusion.predictions import Velocity
from multidiff.diffusion.schedules import Cosine
from multidiff.training.ema import EMA, PowerDecay
from multidiff.training.speed import SpeedSettings
from multidiff.training.stability import Stability

SHAPES = {"unet": (3, 32, 32), "unet1d_small": (256, 126), "points_latent_small": (6, 1024), "unet1d": (1, 16384)}
"""What our backbones are timed on: a small picture, a second of sound as an STFT, 1024 points with normals, samples."""


class Step(NamedTuple):
    """One training step, the network that it trains, and how to call that network on a batch."""

    make: Callable[[], None]
    network: nn.Module
    call: Callable[[Tensor, Tensor], Tensor]
    x0: Tensor


@dataclass(frozen=True)
class Setting:
    """How our step is made."""

    dtype: torch.dtype = torch.float32
    optimizer: str = "fused"  # or foreach, or loop
    channels_last: bool = False
    compile: bool = False


def batch(preset: str, size: int) -> Tensor:
    return torch.randn(size, *SHAPES[preset], generator=torch.Generator().manual_seed(0))


def our_network(preset: str, **changes: Any) -> nn.Module:
    return instantiate(nn.Module, {**load_option("backbone", preset), **changes}, channels=SHAPES[preset][0])


def precision(dtype: torch.dtype) -> torch.autocast:
    """Autocast to bfloat16, or none, which all loops take alike."""
    return torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16)


def our_step(preset: str, size: int, setting: Setting, **changes: Any) -> Step:
    """Noise, loss, backward pass, clipping, AdamW and the moving average, as `DiffusionModule` has them."""
    network, x0 = our_network(preset, **changes), batch(preset, size)
    denoiser = NetworkDenoiser(network, Cosine(), Velocity())
    average, loss, stability = EMA(denoiser, PowerDecay()), Denoising(Uniform(), UniformWeighting()), Stability()
    SpeedSettings(compile=setting.compile, channels_last=setting.channels_last).apply(network)
    kind = {"fused": {"fused": True}, "foreach": {"foreach": True}, "loop": {"foreach": False}}[setting.optimizer]
    optimizer, generator = torch.optim.AdamW(network.parameters(), lr=1e-4, **kind), torch.Generator()

    def step() -> None:
        with precision(setting.dtype):
            value = loss(Context(denoiser, x0, None, generator)).mean()
        value.backward()
        stability.clip(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update(denoiser)

    return Step(step, network, network, x0)


def diffusers_step(size: int, dtype: torch.dtype) -> Step:
    """The loop of diffusers' examples/unconditional_image_generation, with a small UNet2DModel as usual."""
    network: Any = UNet2DModel(
        sample_size=32,
        in_channels=3,
        out_channels=3,
        block_out_channels=(64, 128, 128),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    )
    x0, scheduler, average = batch("unet", size), DDPMScheduler(), EMAModel(network.parameters())
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)

    def step() -> None:
        noise, t = torch.randn_like(x0), torch.randint(0, 1000, (size,))
        with precision(dtype):
            output = network(scheduler.add_noise(x0, noise, t), t).sample
        (output.float() - noise).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.step(network.parameters())

    return Step(step, network, lambda x, t: network(x, t).sample, x0)


def ddpm_pytorch_step(size: int, dtype: torch.dtype) -> Step:
    """What the `Trainer` of denoising-diffusion-pytorch does in a step."""
    network = Unet(dim=72, dim_mults=(1, 2, 2))
    diffusion, x0 = GaussianDiffusion(network, image_size=32), batch("unet", size).sigmoid()
    average = DDPM_EMA(diffusion, beta=0.995, update_every=10)
    optimizer = torch.optim.Adam(diffusion.parameters(), lr=1e-4, betas=(0.9, 0.99))

    def step() -> None:
        with precision(dtype):
            loss = diffusion(x0)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(diffusion.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update()

    return Step(step, network, network, x0)


def audio_pytorch_step(size: int, dtype: torch.dtype) -> Step:
    """The loop of audio-diffusion-pytorch's README, with the widths, strides and attention of its paper."""
    model: Any = DiffusionModel(
        net_t=UNetV0,
        diffusion_t=VDiffusion,
        sampler_t=VSampler,
        in_channels=1,
        channels=(32, 32, 64, 64, 128, 128, 256, 256),
        factors=(1, *[2] * 7),
        items=(2, 2, 2, 2, 2, 2, 4, 4),
        attentions=(0, 0, 0, 0, 0, 1, 1, 1),
        attention_heads=4,
        attention_features=32,
        modulation_features=512,
    )
    x0, optimizer = batch("unet1d", size), torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> None:
        with precision(dtype):
            loss = model(x0)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return Step(step, model.net, model.net, x0)


def names_of(settings: dict[str, Setting], preset: str, chosen: Iterable[str]) -> list[str]:
    """Of the ``chosen`` settings those that ``preset`` knows: channels-last is of two dimensions."""
    return [name for name in chosen if not settings[name].channels_last or len(SHAPES[preset]) == 3]
