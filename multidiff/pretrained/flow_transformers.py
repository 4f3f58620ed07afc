"""Stable Diffusion 3 and Flux: transformers on latents, trained by flow matching."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from multidiff.conditioners import Conditioner
from multidiff.configuration import load_option
from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import NetworkDenoiser
from multidiff.diffusion.objectives import Trained
from multidiff.diffusion.predictions import Flow
from multidiff.model import Model
from multidiff.pretrained.autoencoder import AutoencoderCodec
from multidiff.pretrained.flow import Shift, flow_sampler, shift_of
from multidiff.pretrained.parts import Opened, Parts
from multidiff.pretrained.text import Encoded, PromptConditioner, Tower, joined_vectors, side_by_side

log = logging.getLogger(__name__)

PATCH = 2
"""Positions of latents along each axis that a transformer reads as one."""

LATENTS = 128
"""Side of the latents of Flux by default, those of 1024 pixels."""

T5_LENGTH = {"FluxPipeline": 512, "StableDiffusion3Pipeline": 256}
"""Tokens that T5 reads at a time, by the class of the pipeline; those of diffusers."""

SCALES = (1.0, 100.0)
"""Guidance scales that a guidance-distilled Flux can be asked for."""


class TransformerDenoiser(NetworkDenoiser):
    """A transformer of diffusers that predicts the flow.

    Args:
        network: the transformer.
        shift: of the times, which may depend on the size of the sample.
        shape: of x0, ``(C, H, W)``.
    """

    def __init__(self, network: nn.Module, shift: Shift, shape: Sequence[int]):
        super().__init__(network, shift.schedule(shape, PATCH), Flow())
        self.shift = shift

    def sized(self, shape: Sequence[int]) -> "TransformerDenoiser":
        return type(self)(self.network, self.shift, shape)

    def output(
        self,
        x_t: Tensor,
        t: Tensor,
        cond: Conditioning | None = None,
        s: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> Tensor:
        if s is not None or (scale is not None and "guidance" not in self.inputs):
            raise ValueError("this network takes no second time, and a guidance scale only if it was distilled with it")
        if cond is None or cond.tokens is None or cond.mask is None or cond.vector is None:
            raise ValueError("this network needs the states and the vector of text encoders, also for the empty text")
        cond, sigma = cond.expand(len(x_t)), self.schedule.sigma(t).to(x_t).expand(len(x_t))
        scales = None if scale is None else scale.to(x_t).expand(len(x_t))
        output = torch.empty_like(x_t)
        for rows, prompts in cond.unpadded():
            given = None if scales is None else scales[rows]
            output[rows] = self.flow(x_t[rows], sigma[rows], prompts, given)
        return output

    def flow(self, x: Tensor, sigma: Tensor, cond: Conditioning, scale: Tensor | None) -> Tensor:
        """The flow of samples whose prompts have equally many tokens."""
        raise NotImplementedError


class SD3Denoiser(TransformerDenoiser):
    """`SD3Transformer2DModel` of diffusers."""

    def flow(self, x: Tensor, sigma: Tensor, cond: Conditioning, scale: Tensor | None) -> Tensor:
        tokens, vector = _texts(x, cond)
        time = sigma * self.shift.train_steps
        return self.network(x, encoder_hidden_states=tokens, pooled_projections=vector, timestep=time).sample


class FluxDenoiser(TransformerDenoiser):
    """`FluxTransformer2DModel` of diffusers, which reads squares of four positions; distilled, also the scale."""

    def __init__(self, network: Any, shift: Shift, shape: Sequence[int]):
        super().__init__(network, shift, shape)
        self.inputs = ("guidance",) if network.config.guidance_embeds else ()

    def flow(self, x: Tensor, sigma: Tensor, cond: Conditioning, scale: Tensor | None) -> Tensor:
        tokens, vector = _texts(x, cond)
        height, width = (side // PATCH for side in x.shape[-2:])
        places = torch.cartesian_prod(torch.arange(1), torch.arange(height), torch.arange(width)).to(x)
        guidance = (torch.ones_like(sigma) if scale is None else scale) if self.inputs else None
        flow = self.network(
            rearrange(x, "b c (h i) (w j) -> b (h w) (c i j)", i=PATCH, j=PATCH),
            encoder_hidden_states=tokens,
            pooled_projections=vector,
            timestep=sigma,
            img_ids=places,
            txt_ids=x.new_zeros(tokens.shape[1], 3),
            guidance=guidance,
        ).sample
        return rearrange(flow, "b (h w) (c i j) -> b c (h i) (w j)", h=height, w=width, i=PATCH, j=PATCH)


@dataclass(frozen=True)
class ClipThenT5:
    """SD3: the states of both CLIPs side by side, filled with zeros to the width of T5, whose states come after."""

    def __call__(self, encoded: Sequence[Encoded]) -> Encoded:
        *clips, (t5, _) = encoded
        pictures, vector = side_by_side(clips)
        return torch.cat([F.pad(pictures, (0, t5.shape[-1] - pictures.shape[-1])), t5.flatten(0, 1)]), vector


@dataclass(frozen=True)
class ClipThenZeros:
    """SD3 without T5, whose states are zeros, as in diffusers.

    Attributes:
        width: of T5's states.
        length: number of its tokens.
    """

    width: int
    length: int

    def __call__(self, encoded: Sequence[Encoded]) -> Encoded:
        pictures, vector = side_by_side(encoded)
        return F.pad(pictures, (0, self.width - pictures.shape[-1], 0, self.length)), vector


@dataclass(frozen=True)
class T5WithVector:
    """Flux: the states of T5 and the vector of CLIP."""

    def __call__(self, encoded: Sequence[Encoded]) -> Encoded:
        return encoded[-1][0].flatten(0, 1), joined_vectors(encoded)


def stable_diffusion_3(parts: Parts) -> Opened:
    """The pipeline that ``parts`` of Stable Diffusion 3 make, with or without its T5.

    Raises:
        InputError: they do not fit together, or the scheduler is of a kind that is not supported.
    """
    config = parts.networks["transformer"].config
    pooled = {"text_encoder": "text_embeds", "text_encoder_2": "text_embeds"}
    towers = [
        Tower(parts.networks[name], words, -2 if name in pooled else -1, pooled.get(name))
        for name, words in parts.vocabularies.items()
    ]
    whole = "text_encoder_3" in parts.networks
    if not whole:
        log.warning("%s has no T5 (text_encoder_3): prompts are read by both CLIPs alone", parts.where)
    absent = ClipThenZeros(config.joint_attention_dim, T5_LENGTH[parts.kind])
    prompts = PromptConditioner(towers, ClipThenT5() if whole else absent)
    shape = (config.in_channels, config.sample_size, config.sample_size)
    _check(parts, prompts, config.pooled_projection_dim)
    denoiser = SD3Denoiser(parts.networks["transformer"], shift_of(parts.scheduler), shape)
    return _opened(parts, prompts, denoiser, shape, flow_sampler(parts.scheduler, steps=28), 7.0, Trained())


def flux(parts: Parts) -> Opened:
    """The pipeline that ``parts`` of Flux make; one that is distilled applies guidance by itself.

    Raises:
        InputError: they do not fit together, or the scheduler is of a kind that is not supported.
    """
    config = parts.networks["transformer"].config
    towers = [
        Tower(parts.networks["text_encoder"], parts.vocabularies["text_encoder"], pooled="pooler_output"),
        Tower(parts.networks["text_encoder_2"], parts.vocabularies["text_encoder_2"]),
    ]
    prompts = PromptConditioner(towers, T5WithVector())
    shape = (config.in_channels // PATCH**2, LATENTS, LATENTS)
    _check(parts, prompts, config.pooled_projection_dim)
    denoiser = FluxDenoiser(parts.networks["transformer"], shift_of(parts.scheduler), shape)
    trained = Trained(guidance=SCALES) if config.guidance_embeds else Trained()
    sampler = flow_sampler(parts.scheduler, steps=28 if config.guidance_embeds else 4, even=True)
    return _opened(parts, prompts, denoiser, shape, sampler, 3.5 if config.guidance_embeds else 1.0, trained)


def _opened(
    parts: Parts,
    prompts: PromptConditioner,
    denoiser: TransformerDenoiser,
    shape: tuple[int, ...],
    sampler: Mapping[str, Any],
    guidance: float,
    trained: Trained,
) -> Opened:
    codec = AutoencoderCodec(parts.networks["vae"], PATCH)
    what = "the latents of the autoencoder have"
    parts.check_widths("transformer", {"in_channels": (shape[0], codec.channels, what)})
    modality = {**load_option("modality", "image"), "channels": codec.data_channels}
    model = Model(codec, Conditioner({"caption": prompts}), denoiser)
    return Opened(model, modality, shape, sampler, guidance, trained)


def _check(parts: Parts, prompts: PromptConditioner, vector: int) -> None:
    """Refuse text encoders that do not fit to the transformer."""
    tokens = parts.networks["transformer"].config.joint_attention_dim
    what = "the text encoders make"
    widths = {
        "joint_attention_dim": (tokens, prompts.token_dim, what),
        "pooled_projection_dim": (vector, prompts.vector_dim, what),
    }
    parts.check_widths("transformer", widths)


def _texts(x: Tensor, cond: Conditioning) -> tuple[Tensor, Tensor]:
    """The tokens, and the vector."""
    assert cond.tokens is not None
    assert cond.vector is not None
    return cond.tokens.to(x), cond.vector.to(x)
