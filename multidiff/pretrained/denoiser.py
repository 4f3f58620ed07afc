"""Networks of diffusers as denoisers."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import NetworkDenoiser, coefficients
from multidiff.diffusion.discrete import Betas
from multidiff.diffusion.predictions import Prediction, Velocity


class UNetDenoiser(NetworkDenoiser):
    """`UNet2DConditionModel` of diffusers, which reads timesteps from 0 to N - 1 and the states of text encoders.

    Args:
        network: the U-Net.
        schedule: with its timesteps.
        prediction: what it was trained to predict.
        pixels: side of the square of pixels that one position stands for, which SDXL's sizes count.
        masked: whether the network is for inpainting: it reads x_t, the mask and the picture outside of it, side by
            side, as `seeing` gives them.
    """

    schedule: Betas

    def __init__(
        self, network: nn.Module, schedule: Betas, prediction: Prediction, pixels: int = 8, masked: bool = False
    ):
        super().__init__(network, schedule, prediction)
        self.pixels, self.masked = pixels, masked
        self.beside: Tensor | None = None

    def seeing(self, mask: Tensor, known: Tensor) -> NetworkDenoiser:
        if not self.masked:
            return super().seeing(mask, known)
        copy = UNetDenoiser(self.network, self.schedule, self.prediction, self.pixels, masked=True)
        copy.beside = torch.cat([mask[..., :1, :, :].to(known), known], dim=-3)
        return copy

    def with_zero_terminal_snr(self) -> "UNetDenoiser":
        """This network with betas that are rescaled to zero terminal SNR, predicting v: Lin et al. (2023).

        https://arxiv.org/abs/2305.08891, sections 3.1 and 3.2: at the last timestep, noise says nothing about x0.
        """
        return UNetDenoiser(self.network, self.schedule.rescaled(), Velocity(), self.pixels, self.masked)

    def output(
        self,
        x_t: Tensor,
        t: Tensor,
        cond: Conditioning | None = None,
        s: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> Tensor:
        if s is not None or scale is not None:
            raise ValueError("this network takes neither a second time nor a guidance scale")
        a, sigma = coefficients(self.schedule, t, x_t)
        timestep = self.schedule.timestep(t).to(x_t.device).expand(len(x_t))
        scaled = self.prediction.scale_input(x_t, a, sigma)
        if self.masked:
            if self.beside is None:
                raise ValueError("a network for inpainting needs a mask and a picture")
            scaled = torch.cat([scaled, self.beside.expand(len(x_t), *self.beside.shape[-3:])], dim=1)
        return self.network(scaled, timestep, **self._condition(x_t, cond)).sample

    def _condition(self, x_t: Tensor, cond: Conditioning | None) -> Mapping[str, Any]:
        """The arguments of the network that carry the condition."""
        if cond is None or cond.tokens is None or cond.mask is None:
            raise ValueError("this network needs the states of a text encoder, also for the empty text")
        tokens = cond.tokens.to(x_t).expand(len(x_t), -1, -1)
        arguments: dict[str, Any] = {"encoder_hidden_states": tokens}
        if not cond.mask.all():  # another prompt of the batch has more chunks
            arguments["encoder_attention_mask"] = cond.mask.to(x_t.device).expand(len(x_t), -1)
        if cond.vector is not None:
            vector = cond.vector.to(x_t).expand(len(x_t), -1)
            arguments["added_cond_kwargs"] = {"text_embeds": vector, "time_ids": self._sizes(x_t)}
        return arguments

    def _sizes(self, x_t: Tensor) -> Tensor:
        """SDXL's size of the original picture, corner of the crop and size of the result, ``(B, 6)``."""
        height, width = (side * self.pixels for side in x_t.shape[-2:])
        return x_t.new_tensor([height, width, 0, 0, height, width]).expand(len(x_t), -1)
