"""Image files: read in any mode, write with metadata."""

import json
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin, UnidentifiedImageError

from multidiff.data.files import new_file
from multidiff.errors import InputError
from multidiff.modality import File, name_of

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tiff", ".tif")
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Channels to the Pillow mode that holds them in 8 bits."""

_READ_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
_WRITE_SETTINGS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True, "exact": True},
    "BMP": {},
    "TIFF": {"compression": "tiff_adobe_deflate"},
}
_OPAQUE_FORMATS = ("JPEG", "BMP")
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    MemoryError,
    OverflowError,
    struct.error,
    zlib.error,
)
"""What Pillow's decoders are known to raise for a damaged file."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What shows a picture of each orientation of EXIF upright."""

_WHITES = {"int": (2**8 - 1, 2**16 - 1, 2**31 - 1), "float": (1, 2**8 - 1, 2**16 - 1)}
"""Scales that 32-bit files come in; the format itself states none."""

_METADATA_KEY = "multidiff"

PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = 2**26
"""Colour profiles and the graphs of some generators exceed Pillow's limit of a megabyte."""


def read_image(path: File, channels: int, covering: tuple[int, int] = (1, 1)) -> Image.Image:
    """The image in a PNG, JPEG, WebP, BMP or TIFF file, upright, in 8 bits and the mode of ``channels``.

    Transparent pixels are laid on white unless ``channels`` is 4. Of an animation, the first frame. Colour profiles are
    not applied. 16 bits are scaled to 8; 32-bit integers and floats are taken to be on the smallest of the usual scales
    (to 1 for floats, 255, 65535, ``2**31 - 1`` for integers) that holds all values of the file.

    Args:
        path: the file.
        channels: 1, 3 or 4.
        covering: width and height that a JPEG of more than `PIL.Image.MAX_IMAGE_PIXELS` is shrunk towards while it is
            decoded, but not below.

    Raises:
        InputError: naming the file, if it is missing, damaged, not an image, of more than twice
            `PIL.Image.MAX_IMAGE_PIXELS`, or on no known scale.
    """
    with _opened(path) as image:
        if image.width * image.height > (Image.MAX_IMAGE_PIXELS or 0):
            image.draft(None, (max(covering), max(covering)))
        image.load()
        turn, converted = _turn(image), to_channels(image, channels)
        return converted if turn is None else converted.transpose(turn)


def to_channels(image: Image.Image, channels: int) -> Image.Image:
    """``image`` in 8 bits and the mode of ``channels``; transparent pixels lie on white unless ``channels`` is 4."""
    image = _to_eight_bits(image)
    if image.has_transparency_data and channels < 4:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    if image.mode == "LAB":  # Pillow knows one way out of it
        image = image.convert("RGB")
    return image.convert(MODES[channels])


def write_image(image: Image.Image, path: Path, metadata: Mapping[str, Any]) -> None:
    """Write ``image`` in the format of the suffix of ``path``, all at once or not at all.

    ``metadata`` goes in as JSON: in PNG a text chunk, in JPEG, WebP and TIFF the EXIF image description. BMP has no
    place for it and loses it. PNG, WebP, BMP and TIFF keep every pixel exactly.

    Raises:
        InputError: the suffix is unknown, the format cannot hold the image, or the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"cannot write an image to {path}: its suffix is not one of {' '.join(SUFFIXES)}")
    file_format = Image.registered_extensions()[suffix]
    if image.mode == "RGBA" and file_format in _OPAQUE_FORMATS:
        raise InputError(f"cannot write {path}: {suffix} holds no transparency; use .png, .webp or .tiff")
    settings = _WRITE_SETTINGS[file_format] | _metadata_settings(file_format, metadata)
    with new_file(path) as part:
        try:
            image.save(part, format=file_format, **settings)
        except ValueError as error:
            raise InputError(f"cannot write {path}: {_reason(error)}") from error


def read_metadata(path: Path) -> dict[str, Any]:
    """What `write_image` was given as metadata; empty for the files of others.

    Raises:
        InputError: naming the file, if it cannot be read.
    """
    with _opened(path) as image:
        text = image.info.get(_METADATA_KEY) or image.getexif().get(ExifTags.Base.ImageDescription, "")
    try:
        return json.loads(text)[_METADATA_KEY]
    except (TypeError, ValueError, LookupError, RecursionError):
        return {}


def _metadata_settings(file_format: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of Pillow's ``save`` by which ``metadata`` gets into the file."""
    text = json.dumps({_METADATA_KEY: dict(metadata)})
    if file_format == "BMP":
        return {}
    if file_format == "PNG":
        chunks = PngImagePlugin.PngInfo()
        chunks.add_text(_METADATA_KEY, text)
        return {"pnginfo": chunks}
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = text
    return {"exif": exif}


@contextmanager
def _opened(path: File) -> Iterator[Image.Image]:
    """The file opened by Pillow; whatever goes wrong inside becomes an `InputError` that names it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=_READ_FORMATS) as image:
                yield image
    except InputError as error:
        raise InputError(f"{name_of(path)}: {error}") from None
    except Image.DecompressionBombError as error:
        raise InputError(f"{name_of(path)}: more than {2 * (Image.MAX_IMAGE_PIXELS or 0)} pixels") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{name_of(path)}: not an image") from error
    except _DECODER_ERRORS as error:
        raise InputError(f"{name_of(path)}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """One line that says what went wrong."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or "damaged"


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What shows ``image`` upright by its EXIF, of which damage and other tags cost no picture."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except _DECODER_ERRORS:
        return None


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """``image`` unless it is gray in more than 8 bits: then those values scaled, where Pillow would clip them."""
    if image.mode != "F" and not image.mode.startswith("I"):
        return image
    values = np.asarray(image)
    gray = Image.fromarray(np.round(values * (255 / _white(image, values))).astype(np.uint8))
    if "transparency" not in image.info:
        return gray
    alpha = Image.fromarray(np.where(values == image.info["transparency"], 0, 255).astype(np.uint8))
    return Image.merge("LA", (gray, alpha))


def _white(image: Image.Image, values: np.ndarray) -> int:
    """The value that stands for white.

    Raises:
        InputError: there are values that no usual scale holds.
    """
    if image.mode.startswith("I;"):
        bits = getattr(image, "tag_v2", {}).get(ExifTags.Base.BitsPerSample, (16,))
        return 2 ** bits[0] - 1
    if image.format == "PNG":  # older Pillow reads its 16 bits into 32
        return 2**16 - 1
    low, high = values.min(), values.max()
    if low >= 0:
        for white in _WHITES["float" if image.mode == "F" else "int"]:
            if high <= white:
                return white
    raise InputError(
        f"values from {low:g} to {high:g} have an unknown scale; rescale them to 0..1 in float, 0..65535 in int"
    )
