"""A contact sheet: one picture by which a person can judge many."""

import math
from collections.abc import Sequence

from PIL import Image

from modalities.image.files import to_channels

BACKGROUND = (225, 228, 232)
"""Neither black nor white, so that the edges of both show."""

GAP = 2
READABLE = 64
"""Smaller images are magnified up to about this many pixels."""


def contact_sheet(images: Sequence[Image.Image]) -> Image.Image:
    """The images in reading order on a near-square grid, each in the middle of its cell.

    Small ones are magnified smoothly, which a person reads more easily than squares. Transparent pixels are white.

    Raises:
        ValueError: there is no image.
    """
    if not images:
        raise ValueError("a contact sheet needs at least one image")
    tiles = [magnified(to_channels(image, 3)) for image in images]
    columns = math.ceil(math.sqrt(len(tiles)))
    rows = math.ceil(len(tiles) / columns)
    width, height = max(tile.width for tile in tiles), max(tile.height for tile in tiles)
    sheet = Image.new("RGB", (columns * (width + GAP) + GAP, rows * (height + GAP) + GAP), BACKGROUND)
    for i, tile in enumerate(tiles):
        row, column = divmod(i, columns)
        left = GAP + column * (width + GAP) + (width - tile.width) // 2
        top = GAP + row * (height + GAP) + (height - tile.height) // 2
        sheet.paste(tile, (left, top))
    return sheet


def magnified(image: Image.Image) -> Image.Image:
    """``image`` enlarged by the largest whole factor that keeps its longer side within `READABLE`, or as it is."""
    factor = max(1, READABLE // max(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.BICUBIC)
