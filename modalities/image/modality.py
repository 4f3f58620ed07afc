"""Images: pixels in [-1, 1] as data tensors ``(C, H, W)``."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from modalities.image.files import MODES, SUFFIXES, read_image, read_metadata, to_channels, write_image
from modalities.image.pixels import to_pixels, unit_scale
from modalities.image.preparation import ImagePreparation
from modalities.image.preview import contact_sheet
from multidiff.errors import InputError
from multidiff.modality import File, Modality, Preparation, expected, path_or_open

QUIETEST = 1e-3
"""Squared error of 8-bit pixels below which two images count as equal: a PSNR of 78 dB."""


class ImageModality(Modality[Image.Image]):
    """Pictures in 8 bits a channel; black is -1 and white is 1.

    Args:
        channels: 1 (gray), 3 (RGB) or 4 (RGBA, alpha opaque at 1).

    Raises:
        InputError: another number of channels.
    """

    name: ClassVar[str] = "image"
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES
    preparation: ClassVar[type[Preparation]] = ImagePreparation
    features: ClassVar[str | None] = "encoder"
    for_few: ClassVar[str | None] = "experiment=image/lora, which trains a pretrained pipeline"

    def __init__(self, channels: int):
        if channels not in MODES:
            raise InputError(f"modality.channels of an image is 1 (gray), 3 (RGB) or 4 (RGBA), not {channels}")
        self.channels = channels

    def read(self, file: File | str) -> Image.Image:
        return read_image(path_or_open(file), self.channels)

    def write(self, artifact: Image.Image, path: Path | str, metadata: Mapping[str, Any]) -> None:
        write_image(artifact, Path(path), metadata)

    def metadata(self, path: Path) -> dict[str, Any]:
        return read_metadata(path)

    def to_data(self, artifact: Image.Image) -> Tensor:
        return unit_scale(to_pixels(to_channels(expected(Image.Image, artifact), self.channels)))

    def to_artifact(self, data: Tensor) -> Image.Image:
        """The image nearest to ``data``, ``(C, H, W)``; values outside [-1, 1] are clamped."""
        pixels = ((data.detach().cpu().float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        if self.channels == 1:
            return Image.fromarray(rearrange(pixels, "1 h w -> h w").numpy())
        return Image.fromarray(rearrange(pixels, "c h w -> h w c", c=self.channels).contiguous().numpy())

    def region(self, text: str) -> tuple[np.ndarray]:
        """The light parts of the picture in the file ``text``."""
        return (np.asarray(read_image(Path(text), channels=1)) > 127,)

    def resized(self, shape: tuple[int, ...], **settings: Any) -> tuple[int, ...]:
        """Pictures of another ``height`` and ``width``, in pixels."""
        sides = self.sizes(shape)
        if set(settings) - set(sides):
            return super().resized(shape, **{name: settings[name] for name in settings if name not in sides})
        wrong = next((value for value in settings.values() if type(value) is not int or value < 1), None)
        if wrong is not None:
            raise InputError(f"height and width are numbers of pixels, at least 1, got {wrong!r}")
        return (shape[0], *(sides | settings).values())

    def sizes(self, shape: tuple[int, ...]) -> dict[str, int]:
        return {"height": shape[1], "width": shape[2]}

    def preview(self, artifacts: Sequence[Image.Image]) -> Image.Image:
        return contact_sheet(artifacts)

    def describe(self, artifact: Image.Image) -> str:
        return f"{artifact.width} x {artifact.height} pixels"

    def fidelity(self, original: Tensor, decoded: Tensor) -> dict[str, float]:
        """PSNR in dB and SSIM, of pixels in 8 bits."""
        from skimage.metrics import structural_similarity  # noqa: PLC0415  sampling starts without it

        first, second = (np.asarray(self.to_artifact(data)) for data in (original, decoded))
        error = float(np.mean((first.astype(float) - second.astype(float)) ** 2))
        window = min(7, (min(first.shape[:2]) - 1) // 2 * 2 + 1)  # odd, and within the image
        axis = -1 if first.ndim == 3 else None
        return {
            "psnr_db": 10 * math.log10(255**2 / max(error, QUIETEST)),
            "ssim": float(structural_similarity(first, second, win_size=window, channel_axis=axis)),
        }

    def settings_for(self, shape: Sequence[int]) -> dict[str, Any]:
        return {"size": list(shape[1:])}
