"""Peers for images: diffusers' and lucidrains' denoising-diffusion-pytorch, trained as their own examples do.

Each peer has about as many parameters as ours, and runs with its documented settings and with our batch size and
learning rate.
"""

import io
import math
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import partial
from typing import Any

import diffusers
import ema_pytorch
import torch
from contest import CLIP, Contender
from denoising_diffusion_pytorch import GaussianDiffusion, Unet
from denoising_diffusion_pytorch import classifier_free_guidance as guided
from torch import Tensor, nn

TOLERANCE = 0.15
"""By which parameter counts may differ, as a fraction."""


@dataclass(frozen=True)
class Setting:
    """How a model is trained: samples a step, learning rate, and steps over which it rises."""

    batch_size: int
    lr: float
    warmup: int = 0


class Diffusers(Contender):
    """UNet2DModel as the example script train_unconditional.py trains it, with linear betas and epsilon prediction.

    The learning rate falls as a cosine, and the decay of the EMA rises. The sampler is DPM++ 2M with the thresholding
    that its documentation recommends for pixels: it keeps x0 in [-1, 1], as clip_sample does in their DDPM. Without it,
    samples are noise, because an error in epsilon is 157 times as large in x0 at the first step.
    """

    documented = Setting(batch_size=16, lr=1e-4, warmup=500)

    def __init__(
        self, shape: tuple[int, ...], size: int, steps: int, setting: Setting, seed: int = 0, classes: int = 0
    ):
        torch.manual_seed(seed)
        channels, side, _ = shape
        coarse = len(levels_of(side)) - 1
        self.network: Any = diffusers.UNet2DModel(
            sample_size=side,
            in_channels=channels,
            out_channels=channels,
            block_out_channels=tuple(size * factor for factor in levels_of(side)),
            norm_num_groups=4,
            down_block_types=("DownBlock2D",) + ("AttnDownBlock2D",) * coarse,
            up_block_types=("AttnUpBlock2D",) * coarse + ("UpBlock2D",),
            num_class_embeds=classes or None,
        )
        self.ema = diffusers.training_utils.EMAModel(
            self.network.parameters(), decay=0.9999, use_ema_warmup=True, power=0.75
        )
        self.scheduler = diffusers.DDPMScheduler(1000, beta_schedule="linear")
        weights = list(self.network.parameters())
        self.optimizer = torch.optim.AdamW(weights, setting.lr, betas=(0.95, 0.999), weight_decay=1e-6)
        self.setting, self.batch_size, self.done = setting, setting.batch_size, 0
        self.shape, self.steps, self.classes = shape, steps, classes

    def step(self, x0: Tensor, labels: Tensor, progress: float) -> None:
        self.done += 1
        rising = min(1, self.done / max(1, self.setting.warmup))
        for group in self.optimizer.param_groups:
            group["lr"] = self.setting.lr * rising * (1 + math.cos(math.pi * progress)) / 2
        noise, t = torch.randn_like(x0), torch.randint(1000, (len(x0),))
        self.optimizer.zero_grad()
        output = self.network(self.scheduler.add_noise(x0, noise, t), t, labels if self.classes else None).sample
        (output - noise).square().mean().backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimizer.step()
        self.ema.step(self.network.parameters())

    @torch.no_grad()
    def sample(self, n: int, seed: int) -> Tensor:
        self.network.eval()
        self.ema.store(self.network.parameters())
        self.ema.copy_to(self.network.parameters())
        scheduler = diffusers.DPMSolverMultistepScheduler.from_config(self.scheduler.config, thresholding=True)
        scheduler.set_timesteps(self.steps)
        x = torch.randn(n, *self.shape, generator=torch.Generator().manual_seed(seed))
        labels = torch.arange(n) % self.classes if self.classes else None
        for t in scheduler.timesteps:
            x = scheduler.step(self.network(x, t, labels).sample, t, x).prev_sample
        self.ema.restore(self.network.parameters())
        return x


class Lucidrains(Contender):
    """Unet and GaussianDiffusion with their defaults (velocity, sigmoid betas), EMA and Adam of Trainer, and DDIM.

    With classes: those of classifier_free_guidance and their defaults (noise, cosine betas). A scale of exactly 1 is an
    error there, so it is a millionth more.
    """

    documented = Setting(batch_size=16, lr=1e-4)

    def __init__(
        self, shape: tuple[int, ...], size: int, steps: int, setting: Setting, seed: int = 0, classes: int = 0
    ):
        torch.manual_seed(seed)
        channels, side, _ = shape
        form: dict[str, Any] = {"dim": size, "dim_mults": levels_of(side), "channels": channels}
        noise = {"image_size": side, "sampling_timesteps": steps}
        self.network: nn.Module = (
            guided.GaussianDiffusion(guided.Unet(**form, num_classes=classes), **noise, ddim_sampling_eta=0.0)
            if classes
            else GaussianDiffusion(Unet(**form), **noise)
        )
        self.ema = ema_pytorch.EMA(self.network, beta=0.995, update_every=10)
        self.optimizer = torch.optim.Adam(self.network.parameters(), setting.lr, betas=(0.9, 0.99))
        self.batch_size, self.classes = setting.batch_size, classes

    def step(self, x0: Tensor, labels: Tensor, progress: float) -> None:
        self.optimizer.zero_grad()
        pictures = (x0 + 1) / 2
        loss = self.network(pictures, classes=labels) if self.classes else self.network(pictures)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimizer.step()
        self.ema.update()

    @torch.no_grad()
    def sample(self, n: int, seed: int) -> Tensor:
        torch.manual_seed(seed)
        self.ema.ema_model.eval()
        with redirect_stderr(io.StringIO()):  # its progress bars cannot be switched off
            if self.classes:
                return 2 * self.ema.ema_model.sample(torch.arange(n) % self.classes, cond_scale=1 + 1e-6) - 1
            return 2 * self.ema.ema_model.sample(batch_size=n) - 1


def levels_of(side: int) -> tuple[int, ...]:
    """Widths of the levels, relative to the first: two for tiny images, three for others."""
    return (1, 2) if side <= 8 else (1, 2, 4)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def matched(make: Callable[[int], Contender], target: int) -> int:
    """The size with the number of parameters nearest to ``target``, within `TOLERANCE`."""
    counts: dict[int, int] = {}
    for size in range(8, 257, 4):
        counts[size] = count(make(size).network)
        if counts[size] > target:
            break
    size = min(counts, key=lambda size: abs(counts[size] - target))
    if abs(counts[size] / target - 1) > TOLERANCE:
        raise SystemExit(f"no size has {target} parameters within {TOLERANCE:.0%}; the nearest has {counts[size]}")
    return size


def peers(
    shape: tuple[int, ...], parameters: int, ours: Setting, steps: int, seed: int, classes: int = 0
) -> dict[str, Contender]:
    """All peers with the weights of a seed, by name.

    Args:
        shape: of the images.
        parameters: of our model.
        ours: how our model is trained.
        steps: of the samplers.
        classes: number of classes that the peers are given; 0 for none.
    """
    found = {}
    for name, kind in (("diffusers", Diffusers), ("denoising-diffusion-pytorch", Lucidrains)):
        make = partial(kind, shape, steps=steps, classes=classes)
        size = matched(lambda size, make=make: make(size, setting=ours), parameters)
        for words, setting in (("its settings", kind.documented), ("our settings", ours)):
            found[f"{name}, {words}"] = make(size, setting=setting, seed=seed)
    return found
