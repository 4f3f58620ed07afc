"""Changes of resolution, for samples of any number of dimensions."""

import torch.nn.functional as F
from torch import Tensor


def downsample(x: Tensor, factor: int = 2) -> Tensor:
    """Mean over blocks of ``factor`` positions a side: ``(B, C, *size)`` to ``(B, C, *size / factor)``.

    With ``upsample``, the resampling of EDM2: Karras et al. (2024), appendix B, https://arxiv.org/abs/2312.02696.
    """
    pool = {3: F.avg_pool1d, 4: F.avg_pool2d, 5: F.avg_pool3d}[x.ndim]
    return pool(x, factor)


def upsample(x: Tensor, factor: int = 2) -> Tensor:
    """Each position repeated ``factor`` times a side: ``(B, C, *size)`` to ``(B, C, *size * factor)``."""
    return F.interpolate(x, scale_factor=factor, mode="nearest")


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Zeros at the end of each side until ``multiple`` divides it: ``(B, C, *size)``."""
    missing = [-side % multiple for side in reversed(x.shape[2:])]
    return F.pad(x, [amount for side in missing for amount in (0, side)]) if any(missing) else x


def crop(x: Tensor, like: Tensor) -> Tensor:
    """The start of each side of ``x``, in the size of ``like``: undoes ``pad_to_multiple``."""
    return x[(slice(None), slice(None), *(slice(side) for side in like.shape[2:]))]
