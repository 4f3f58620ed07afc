"""8-bit images as arrays, and arrays as data tensors."""

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor


def to_pixels(image: Image.Image) -> np.ndarray:
    """An 8-bit image as uint8 ``(C, H, W)``."""
    return rearrange(np.atleast_3d(np.asarray(image)), "h w c -> c h w")


def unit_scale(pixels: np.ndarray, white: int = 255) -> Tensor:
    """Values from 0 to ``white`` as float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32) / np.float32(white / 2) - 1)


def mirrored(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """``pixels`` with left and right exchanged, or not, with equal chances."""
    return pixels[..., ::-1] if random.random() < 0.5 else pixels
