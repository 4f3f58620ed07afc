"""Random masks, of which a network for inpainting learns to fill any."""

import torch
from torch import Tensor

WHOLE = 0.25
"""Share of the masks that hide everything, as in the training of Stable Diffusion's model for inpainting."""


def random_masks(like: Tensor, generator: torch.Generator) -> Tensor:
    """Masks ``(B, 1, H, W)`` of data ``(B, C, H, W)``, true where a sample is regenerated.

    They are rectangles and ellipses, or hide everything; sides are uniform up to those of the sample, and places within
    it. Rombach et al. (2022),
    https://github.com/runwayml/stable-diffusion, with the shapes of diffusers' script for inpainting.
    """
    count, _, height, width = like.shape
    side_y, side_x, place_y, place_x, kind, whole = torch.rand(
        6, count, 1, 1, generator=generator, device=generator.device
    )
    y, x = (
        ((torch.arange(length, device=side.device) + 0.5) / length - place * (1 - side)) / side * 2 - 1
        for length, side, place in [(height, side_y, place_y), (width, side_x, place_x)]
    )
    y, x = y.transpose(1, 2).abs(), x.abs()
    inside = torch.where(kind < 0.5, torch.maximum(y, x) <= 1, y.square() + x.square() <= 1)
    return (inside | (whole < WHOLE))[:, None]
