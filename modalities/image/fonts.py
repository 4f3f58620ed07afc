"""The characters of a colour font as training data, with their Unicode names as captions."""

import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from modalities.image.drawings import INSTALL, DrawingPreparation
from multidiff.data.cache import decoded
from multidiff.data.dataset import Dataset
from multidiff.data.scan import path_of
from multidiff.errors import InputError
from multidiff.modality import File, name_of

if TYPE_CHECKING:
    from modalities.image.modality import ImageModality

LARGEST = 2**27
"""Bytes of a font, at most."""

OUTLINE = 256
"""Pixels per em at which outlines are rendered."""


class FontPreparation(DrawingPreparation):
    """Renders the named characters of a font, each as large as fits into ``size``; settings as of drawings."""

    suffixes = (".ttf", ".otf")

    def __init__(
        self, modality: "ImageModality", size: int | Sequence[int], background: str = "white", flip: bool = False
    ):
        super().__init__(modality, size, background, flip)
        self.settings |= {"kind": "font"}

    def prepare(self, file: File) -> np.ndarray:
        """uint8 ``(characters, C, H, W)`` in the order of their code points; a blank one shows the background."""
        content = file.read_bytes() if isinstance(file, Path) else file.read()
        facts = _Facts.of(content, name_of(file))
        try:
            font = ImageFont.truetype(io.BytesIO(content), facts.em, layout_engine=ImageFont.Layout.BASIC)
            return np.stack([self.placed(_rendered(font, chr(code), self.size[::-1])) for code in facts.codes])
        except (OSError, ValueError) as error:
            raise InputError(f"{name_of(file)}: not a font, or damaged ({error})") from error


class ColourFont(Dataset):
    """The characters of a font with colours, such as Noto Color Emoji, with their Unicode names as captions.

    Emoji made of several characters, such as flags, are left out.

    Args:
        modality: of the images.
        root: the font, with colours in layers (COLR version 0) or as bitmaps (CBDT or sbix).
        size: pixels of the square, or (height, width).
        background: a colour in CSS notation. With 4 channels, it stays transparent.
        flip: mirror every other drawing, at random.
        cache: folder for the rendered characters; by default that of the user.

    Raises:
        InputError: it is not such a font, or a setting cannot be used.
    """

    def __init__(
        self,
        modality: "ImageModality",
        root: str | Path,
        size: int | Sequence[int],
        background: str = "white",
        flip: bool = False,
        cache: str | Path | None = None,
    ):
        path = path_of(root)
        if not path.is_file():
            raise InputError(f"data.root={root}: there is no such font")
        self.preparation = FontPreparation(modality, size, background, flip)
        codes = _Facts.of(path.read_bytes(), path.name).codes
        self.store = decoded(
            [path],
            self.preparation,
            root=path.parent,
            kind="font",
            max_unreadable=0,
            cache=None if cache is None else path_of(cache),
        )
        rendered = self.store[0]
        blank = rendered == rendered[:, :, :1, :1]
        self.rows = np.flatnonzero(~blank.all(axis=(1, 2, 3)))
        self.fields = {"caption": [(unicodedata.name(chr(codes[row])).lower(),) for row in self.rows]}
        self.shape, self.origin = self.preparation.shape, self.store.key

    def __len__(self) -> int:
        return len(self.rows)

    def data(self, index: int, random: np.random.Generator) -> Tensor:
        return self.preparation.sample(self.store[0][self.rows[index]], random)


@dataclass(frozen=True)
class _Facts:
    """Of a font.

    Attributes:
        codes: code points of its characters that have a Unicode name, in order.
        em: pixels per em to render at: those of its largest bitmaps, or enough for outlines.
    """

    codes: list[int]
    em: int

    @classmethod
    def of(cls, content: bytes, name: str) -> "_Facts":
        """Raises `InputError` if it is not a font, or has no colours that can be rendered."""
        try:
            from fontTools.ttLib import TTFont  # noqa: PLC0415  of an extra
        except ImportError as error:
            raise InputError(f"data=colour_font needs the package fonttools: {INSTALL} ({error})") from error
        if len(content) > LARGEST:
            raise InputError(f"{name}: more than {LARGEST // 2**20} MB of font")
        try:
            tables = TTFont(io.BytesIO(content), lazy=True)
            codes = sorted(code for code in tables.getBestCmap() or () if unicodedata.name(chr(code), ""))
            sizes = _sizes(tables)
        except Exception as error:  # of a decoder of other people's files
            raise InputError(f"{name}: not a font, or damaged ({type(error).__name__}: {error})") from error
        if not sizes or not codes:
            raise InputError(
                f"{name}: has no colours that can be rendered; supported are COLR version 0, CBDT and sbix, and for "
                "folders of SVGs, data=svg_folder"
            )
        return cls(codes, max(sizes))


def _sizes(tables: Any) -> list[int]:
    """Pixels per em at which the font has coloured characters."""
    if "CBLC" in tables:
        return [strike.bitmapSizeTable.ppemX for strike in tables["CBLC"].strikes]
    if "sbix" in tables:
        return list(tables["sbix"].strikes)
    return [OUTLINE] if "COLR" in tables and tables["COLR"].version == 0 else []


def _rendered(font: ImageFont.FreeTypeFont, character: str, size: tuple[int, int]) -> Image.Image:
    """The character in RGBA, as large as fits into ``size``, (width, height); one transparent pixel if it is blank."""
    left, top, right, bottom = (round(side) for side in font.getbbox(character))
    canvas = Image.new("RGBA", (max(right - left, 1), max(bottom - top, 1)))
    ImageDraw.Draw(canvas).text((-left, -top), character, font=font, embedded_color=True, fill="black")
    return ImageOps.contain(canvas.crop(canvas.getbbox() or (0, 0, 1, 1)), size)
