"""Down- and upsampling for samples with any number of dimensions."""

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_SPAN = 5
"""Length of the low-pass filter, in positions of the lower resolution; odd."""


def downsample(x: Tensor, factor: int = 2) -> Tensor:
    """Average pooling by ``factor`` along each axis: ``(B, C, *size)`` to ``(B, C, *size / factor)``.

    With ``upsample``, the resampling of EDM2: Karras et al. (2024), appendix B, https://arxiv.org/abs/2312.02696.
    """
    pool = {3: F.avg_pool1d, 4: F.avg_pool2d, 5: F.avg_pool3d}[x.ndim]
    return pool(x, factor)


def upsample(x: Tensor, factor: int = 2) -> Tensor:
    """Nearest-neighbour upsampling by ``factor`` along each axis: ``(B, C, *size)`` to ``(B, C, *size * factor)``."""
    return F.interpolate(x, scale_factor=factor, mode="nearest")


def downsample_filtered(x: Tensor, factor: int = 2) -> Tensor:
    """Like ``downsample``, with an anti-aliasing low-pass filter, for waveforms.

    With ``upsample_filtered``, the resampling of Karras et al. (2021), section 3.1, https://arxiv.org/abs/2106.12423.
    """
    for axis in range(2, x.ndim):
        rows = _padded_rows(x, axis, _SPAN // 2 * factor)
        x = _from_rows(F.conv1d(rows, _taps(rows, factor), stride=factor, groups=rows.shape[1]), x, axis)
    return x


def upsample_filtered(x: Tensor, factor: int = 2) -> Tensor:
    """Like ``upsample``, with the filter of ``downsample_filtered``, which removes spectral images."""
    beyond = (_SPAN - 1) * factor
    for axis in range(2, x.ndim):
        rows = _padded_rows(x, axis, _SPAN // 2)
        taps = factor * _taps(rows, factor)
        spread = F.conv_transpose1d(rows, taps, stride=factor, padding=beyond, groups=rows.shape[1])
        x = _from_rows(spread, x, axis)
    return x


@cache
def lowpass(factor: int) -> np.ndarray:
    """Kaiser-windowed sinc with cutoff at the Nyquist frequency of the lower resolution, ``(5 factor,)`` in float64.

    Each of its ``factor`` phases sums to ``1 / factor``, so that constants are preserved in both directions. It is no
    tensor, since one that is first made in a mode of torch, such as that of fake tensors, would remain in use later.
    """
    count = _SPAN * factor
    places = (np.arange(count) - (count - 1) / 2) / factor
    phases = (np.sinc(places) * np.kaiser(count, 4.0)).reshape(_SPAN, factor)
    return (phases / (factor * phases.sum(axis=0))).flatten()


def _taps(rows: Tensor, factor: int) -> Tensor:
    """The filter repeated for each row, as a grouped convolution needs it: ``(rows, 1, 5 factor)``."""
    return torch.from_numpy(lowpass(factor)).to(rows).repeat(rows.shape[1], 1, 1)


def _padded_rows(x: Tensor, axis: int, amount: int) -> Tensor:
    """``x`` as rows along ``axis``, ``(B, rows, length)``, with replicate padding of ``amount`` at both ends."""
    return F.pad(x.movedim(axis, -1).flatten(1, -2), (amount, amount), mode="replicate")


def _from_rows(rows: Tensor, like: Tensor, axis: int) -> Tensor:
    """Inverse of the row view for rows of any length; all other axes have the sizes of ``like``."""
    sides = like.movedim(axis, -1).shape[:-1]
    return rows.reshape(*sides, -1).movedim(-1, axis)


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Zero-pad ``(B, C, *size)`` at the end of each axis to a multiple of ``multiple``."""
    missing = [-side % multiple for side in reversed(x.shape[2:])]
    return F.pad(x, [amount for side in missing for amount in (0, side)]) if any(missing) else x


def crop(x: Tensor, like: Tensor) -> Tensor:
    """Crop ``x`` at the end of each axis to the size of ``like``; inverse of ``pad_to_multiple``."""
    return x[(slice(None), slice(None), *(slice(side) for side in like.shape[2:]))]
