"""Image files as training samples: resized and cropped once, mirrored and cropped each time."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image
from torch import Tensor

from modalities.image.files import SUFFIXES, read_image
from modalities.image.pixels import mirrored, to_pixels, unit_scale
from multidiff.errors import InputError
from multidiff.modality import File, Preparation, name_of

if TYPE_CHECKING:
    from modalities.image.modality import ImageModality

Crop = Literal["center", "random"]


class ImagePreparation(Preparation):
    """Resizes each image so that it just covers ``size``, antialiased (Lanczos), and crops it.

    Args:
        modality: of the images.
        size: pixels of the square, or (height, width).
        crop: "center" keeps the middle; "random" keeps another part each time.
        flip: mirror every other image, at random.
        buckets: pixels of which sides are multiples: each image keeps its aspect ratio up to them, at about the area of
            ``size``; None: all images have that size.

    Raises:
        InputError: a setting that cannot be used.
    """

    suffixes = SUFFIXES

    def __init__(
        self,
        modality: "ImageModality",
        size: int | Sequence[int],
        crop: Crop = "center",
        flip: bool = False,
        buckets: int | None = None,
    ):
        require(crop, ("center", "random"), "crop")
        self.size, self.crop, self.flip, self.buckets = height_and_width(size), crop, flip, buckets
        if buckets is not None and (crop != "center" or not 1 <= buckets <= min(self.size)):
            raise InputError(
                f"data.buckets is a number of pixels, at most those of data.size, and needs crop=center, got {buckets}"
            )
        self.varies = buckets is not None
        self.channels = modality.channels
        self.shape = (self.channels, *self.size)
        self.settings: dict[str, Any] = {
            "kind": "image",
            "channels": self.channels,
            "size": list(self.size),
            "crop": crop,
            **({"buckets": buckets} if buckets else {}),
        }

    def prepare(self, file: File) -> np.ndarray:
        """uint8 ``(C, H, W)``, cut to ``size``, or to that of its bucket, unless crops are random."""
        image = read_image(file, self.channels, self.size[::-1])
        height, width = self.size if self.buckets is None else self._bucket(image, self.buckets)
        if image.height < height or image.width < width:
            square = height == width or self.varies
            at_most = min(image.width, image.height) if square else [image.height, image.width]
            raise InputError(
                f"{name_of(file)}: {image.width}x{image.height} pixels, smaller than {width}x{height}; "
                f"data.size={at_most} fits"
            )
        scale = max(height / image.height, width / image.width)
        covering = max(width, round(image.width * scale)), max(height, round(image.height * scale))
        pixels = to_pixels(image if scale == 1 else image.resize(covering, Image.Resampling.LANCZOS))
        if self.crop == "random":
            return pixels
        top, left = (pixels.shape[1] - height) // 2, (pixels.shape[2] - width) // 2
        return pixels[:, top : top + height, left : left + width]

    def sample(self, prepared: np.ndarray, random: np.random.Generator) -> Tensor:
        pixels = prepared if self.varies else random_crop(prepared, self.size, random)
        return unit_scale(mirrored(pixels, random) if self.flip else pixels)

    def _bucket(self, image: Image.Image, step: int) -> tuple[int, int]:
        """Height and width for an image, in multiples of ``step``, at about the area of ``size``.

        At most half a step of either is cut off.
        """
        ratio = max(image.size) / min(image.size)
        short = max(1, round(math.sqrt(math.prod(self.size) / ratio) / step)) * step
        long = round(short * ratio / step) * step
        return (long, short) if image.height > image.width else (short, long)


def random_crop(pixels: np.ndarray, size: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """A part of ``pixels``, ``(C, H, W)``, of that size; an axis of that size is kept whole."""
    height, width = size
    top = int(random.integers(pixels.shape[1] - height + 1))
    left = int(random.integers(pixels.shape[2] - width + 1))
    return pixels[:, top : top + height, left : left + width]


def require(value: str, accepted: tuple[str, ...], name: str) -> None:
    """Refuse a value of the setting ``name`` that is not accepted."""
    if value not in accepted:
        raise InputError(f"data.{name} is one of {', '.join(accepted)}, not {value!r}")


def height_and_width(size: int | Sequence[int]) -> tuple[int, int]:
    """The setting ``size`` as two numbers of pixels."""
    sides = tuple(size) if isinstance(size, Sequence) else (size, size)
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise InputError(f"data.size is a number of pixels, or [height, width], not {size}")
    return sides
