"""Images: pixels in [-1, 1] as tensors ``(C, H, W)``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from modalities.image.files import MODES, SUFFIXES, read_image, to_channels, write_image
from modalities.image.preview import contact_sheet
from multidiff.errors import InputError
from multidiff.modality import Modality


class ImageModality(Modality[Image.Image]):
    """Pictures in 8 bits a channel; black is -1 and white is 1.

    Args:
        channels: 1 (gray), 3 (RGB) or 4 (RGBA, alpha opaque at 1).

    Raises:
        InputError: another number of channels.
    """

    name: ClassVar[str] = "image"
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES
    features: ClassVar[str | None] = "encoder"

    def __init__(self, channels: int):
        if channels not in MODES:
            raise InputError(f"modality.channels of an image is 1 (gray), 3 (RGB) or 4 (RGBA), not {channels}")
        self.channels = channels

    def read(self, path: Path) -> Image.Image:
        return read_image(path, self.channels)

    def write(self, artifact: Image.Image, path: Path, metadata: Mapping[str, Any]) -> None:
        write_image(artifact, path, metadata)

    def to_tensor(self, artifact: Image.Image) -> Tensor:
        return unit_scale(to_pixels(to_channels(artifact, self.channels)))

    def to_artifact(self, x: Tensor) -> Image.Image:
        """The image nearest to ``x``, ``(C, H, W)``; what lies outside [-1, 1] is clamped."""
        levels = ((x.detach().cpu().float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        if self.channels == 1:
            return Image.fromarray(rearrange(levels, "1 h w -> h w").numpy())
        return Image.fromarray(rearrange(levels, "c h w -> h w c", c=self.channels).contiguous().numpy())

    def region(self, text: str) -> tuple[np.ndarray]:
        """The light parts of the picture in the file ``text``."""
        return (np.asarray(read_image(Path(text), channels=1)) > 127,)

    def preview(self, artifacts: Sequence[Image.Image]) -> Image.Image:
        return contact_sheet(artifacts)

    def folder(self, root: Path, shape: Sequence[int]) -> dict[str, Any]:
        return {"_target_": "modalities.image.data.ImageFolder", "root": str(root), "size": list(shape[1:])}


def to_pixels(image: Image.Image) -> np.ndarray:
    """An 8-bit image as uint8 ``(C, H, W)``."""
    return rearrange(np.atleast_3d(np.asarray(image)), "h w c -> c h w")


def unit_scale(pixels: np.ndarray, white: int = 255) -> Tensor:
    """Levels 0 to ``white`` as float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32) / np.float32(white / 2) - 1)
