"""Images in tar shards or tables, decoded as training asks for them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from modalities.image.data import Crop, height_and_width, mirrored, prepared, random_crop, require
from modalities.image.files import read_image
from modalities.image.modality import ImageModality, unit_scale
from multidiff.data.named_bytes import NamedBytes
from multidiff.data.streaming.encoded import Encoded, EncodedDataset
from multidiff.data.streaming.shards import Shards
from multidiff.data.streaming.table import Table
from multidiff.errors import InputError


class EncodedImages(EncodedDataset):
    """Image files from a source, prepared as `modalities.image.data.ImageFolder` prepares them.

    Args:
        source: the files. One that is smaller than ``size`` counts as unreadable.
        size: pixels of the square, or (height, width).
        crop: "center" keeps the middle; "random" keeps another part each time.
        flip: mirror every other image, at random.
        max_unreadable: how many images may be left out in a process.
    """

    def __init__(
        self,
        modality: ImageModality,
        source: Encoded,
        size: int | Sequence[int],
        crop: Crop,
        flip: bool,
        max_unreadable: int,
    ):
        require(crop, ("center", "random"), "crop")
        self.size, self.crop, self.flip = height_and_width(size), crop, flip
        super().__init__(source, (modality.channels, *self.size), {"crop": crop, "flip": flip}, max_unreadable)

    def decoded(self, file: NamedBytes, random: np.random.Generator) -> Tensor:
        image = read_image(file, self.shape[0])
        if image.height < self.size[0] or image.width < self.size[1]:
            smaller = f"{self.size[1]}x{self.size[0]}"
            raise InputError(f"{file}: {image.width}x{image.height}, smaller than data.size={smaller}")
        pixels = random_crop(prepared(image, self.size, self.crop), self.size, random)
        return unit_scale(mirrored(pixels, random) if self.flip else pixels)


class ImageShards(EncodedImages):
    """Images in tar files, see `multidiff.data.streaming.shards.Shards` and `EncodedImages`."""

    def __init__(
        self,
        modality: ImageModality,
        shards: str | Sequence[str],
        size: int | Sequence[int],
        crop: Crop = "center",
        flip: bool = False,
        label: str = "cls",
        caption: str = "txt",
        mix: int = 16,
        max_unreadable: int = 100,
        cache: str | Path | None = None,
        cache_limit: float = 50.0,
    ):
        source = Shards(
            shards,
            modality.suffixes,
            modality.name,
            label=label,
            caption=caption,
            mix=mix,
            cache=cache,
            cache_limit=cache_limit,
        )
        super().__init__(modality, source, size, crop, flip, max_unreadable)


class ImageTable(EncodedImages):
    """Images in a column of a table, see `multidiff.data.streaming.table.Table` and `EncodedImages`."""

    def __init__(
        self,
        modality: ImageModality,
        root: str | Path,
        size: int | Sequence[int],
        split: str = "train",
        column: str = "image",
        label: str | None = "label",
        caption: str | None = "text",
        crop: Crop = "center",
        flip: bool = False,
        max_unreadable: int = 100,
        cache: str | Path | None = None,
        cache_limit: float = 50.0,
    ):
        source = Table(root, split, column, "Image", label=label, caption=caption, cache=cache, cache_limit=cache_limit)
        super().__init__(modality, source, size, crop, flip, max_unreadable)
