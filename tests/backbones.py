"""Small backbones of every kind, for tests of what all do and of what one does."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from modalities.shape.transformer import LatentPointTransformer, PointTransformer
from multidiff.diffusion.conditioning import Conditioning
from multidiff.nn.dit import DiT
from multidiff.nn.unet import UNet

BATCH, CHANNELS, VECTOR, TOKEN = 3, 4, 5, 6

STAGES = {"widths": [8, 16], "blocks": [1, 2], "attention": [False, True], "head_size": 8}
WAVE = {**STAGES, "dims": 1, "strides": [1, 4], "rotary": True, "filtered": True}
BLOCKS = {"patch": 2, "width": 24, "depth": 2, "head_size": 12}
POINTS = {"width": 16, "head_size": 8, "octaves": 2}
LATENT = {"latents": 4, "latent_width": 24, "rounds": 2, "latent_blocks": 1}

BACKBONES: dict[str, tuple[Callable[..., nn.Module], dict[str, Any], tuple[int, ...]]] = {
    "UNet, 2D": (UNet, {**STAGES, "dims": 2}, (8, 8)),
    "UNet, 1D": (UNet, WAVE, (32,)),
    "UNet, 1D, gated": (UNet, {**WAVE, "gated": True}, (32,)),
    "DiT, 1D": (DiT, {**BLOCKS, "dims": 1}, (12,)),
    "DiT, 2D": (DiT, {**BLOCKS, "dims": 2}, (6, 4)),
    "DiT, 3D": (DiT, {**BLOCKS, "dims": 3}, (4, 2, 4)),
    "PointTransformer": (PointTransformer, {**POINTS, "depth": 2}, (20,)),
    "LatentPointTransformer": (LatentPointTransformer, {**POINTS, **LATENT}, (20,)),
}
"""The class, its settings, and the size of its samples."""


def make_network(name: str, *, vector_dim: int = VECTOR, token_dim: int = TOKEN, randomised: bool = True) -> nn.Module:
    """A small network with random weights in its zero layers too, so that every path affects the output."""
    torch.manual_seed(0)
    kind, settings, _ = BACKBONES[name]
    network = kind(channels=CHANNELS, vector_dim=vector_dim, token_dim=token_dim, **settings)
    if randomised:
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.2)
    return network.eval()


def make_inputs(name: str) -> tuple[Tensor, Tensor, Conditioning]:
    """Samples, their log SNRs and their conditions, some of whose tokens are masked."""
    mask = torch.tensor([[True, True, False], [True, False, False], [True, True, True]])
    cond = Conditioning(torch.randn(BATCH, VECTOR), torch.randn(BATCH, 3, TOKEN), mask)
    return torch.randn(BATCH, CHANNELS, *BACKBONES[name][-1]), torch.linspace(-2, 3, BATCH), cond
