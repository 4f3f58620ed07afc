"""Stages of U-Nets for the size of the data and the device, with most of the work at the last stage."""

import math
from typing import Any

SIDE = 8
"""Positions a side of the last stage of images, at least."""

WIDTHS_CPU, WIDTHS_GPU = (192, 96, 32, 16), (384, 256, 192, 128, 64, 32)
"""Channels of the stages of images, from the last stage on; still earlier stages have the last of these."""

FRAMES, STRIDE = 100, 3
"""Positions of the last stage of sounds, at most, and the factor between the first stages."""

FRAMES_CPU, FRAMES_GPU = (128, 192), (256, 384)
"""Channels of the first stage of sounds, and of the others."""


def stages_of_pixels(side: int, count: int | None, accelerated: bool) -> dict[str, Any]:
    """``count`` stages for images of this shorter side; by default down to `SIDE` positions."""
    count = count or max(2, int(math.log2(side / SIDE)) + 1)
    widths = WIDTHS_GPU if accelerated else WIDTHS_CPU
    return _stages([*widths, *[widths[-1]] * count][:count][::-1], 2, accelerated)


def stages_of_frames(length: int, count: int | None, accelerated: bool) -> dict[str, Any]:
    """``count`` stages for sounds of this many frames; by default down to `FRAMES` positions."""
    count = count or max(2, 2 + math.ceil(math.log2(length / (STRIDE * FRAMES))))
    first, others = FRAMES_GPU if accelerated else FRAMES_CPU
    strides = [1, STRIDE, *[2] * count][:count]
    return {**_stages([first, *[others] * (count - 1)], 1, accelerated), "strides": strides}


def _stages(widths: list[int], last: int, accelerated: bool) -> dict[str, Any]:
    """Settings of stages of these ``widths``, with ``last`` blocks at the last stage on a CPU, and attention there."""
    earlier = len(widths) - 1
    blocks = [2] * len(widths) if accelerated else [1] * earlier + [last]
    return {"widths": widths, "blocks": blocks, "attention": [False] * earlier + [True]}
