"""The objects of scenes as small pictures in RGBA: drawings of OpenMoji, recoloured and scaled, made once."""

import colorsys
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from modalities.image.drawings import openmoji, rasterised
from modalities.image.scenes.objects import COLOURS, KINDS
from multidiff.data.cache import generated

_FINER = 4
"""How much larger than the largest sprite the drawing is that sprites are scaled down from."""

_COLOUR = re.compile(r"#(?:[0-9a-fA-F]{6}|[0-9a-fA-F]{3})\b")
_HUES = {"red": 15, "orange": 41, "yellow": 65, "green": 165, "blue": 240, "purple": 310, "pink": 350, "": 360}
"""Where in the colour wheel each group of colours ends, in degrees; the last is red again."""

_BLACK, _GRAY = 0.3, 0.12
"""Values below the first are outlines; saturations below the second are gray or white."""


class Sprites:
    """Every object in every colour at a few sizes.

    Args:
        sizes: of the longer side, in pixels.
        cache: as for `multidiff.data.cache.generated`.

    Raises:
        InputError: the packages of the extra ``emoji`` are missing, or the cache cannot be written.
    """

    def __init__(self, sizes: Sequence[int], cache: Path | None = None):
        folder, version = openmoji()
        self.sizes = tuple(dict.fromkeys(sizes))
        self._names, self._colours = list(KINDS), [None, *COLOURS]
        settings: dict[str, Any] = {
            "kind": "scene sprites",
            "version": version,
            "sizes": self.sizes,
            "colours": COLOURS,
            "objects": [(name, kind.code) for name, kind in KINDS.items()],
        }
        count = len(self._names) * len(self._colours) * len(self.sizes)
        self._store = generated((self._make(folder, index) for index in range(count)), count, settings, cache=cache)
        self.key = self._store.key

    def __call__(self, name: str, colour: str | None, size: int) -> np.ndarray:
        """uint8 ``(H, W, 4)``; the longer side is ``size``."""
        place = self._names.index(name), self._colours.index(colour), self.sizes.index(size)
        shape = len(self._names), len(self._colours), len(self.sizes)
        return self._store[int(np.ravel_multi_index(place, shape))]

    def _make(self, folder: Path, index: int) -> np.ndarray:
        shape = len(self._names), len(self._colours), len(self.sizes)
        name, colour, size = (int(part) for part in np.unravel_index(index, shape))
        picture = _drawn(folder, self._names[name], self._colours[colour], _FINER * max(self.sizes))
        scale = self.sizes[size] / max(picture.size)
        sides = [max(1, round(side * scale)) for side in picture.size]
        return np.asarray(picture.resize((sides[0], sides[1]), Image.Resampling.LANCZOS))


@lru_cache(maxsize=1)
def _drawn(folder: Path, name: str, colour: str | None, side: int) -> Image.Image:
    """An object, cut to what is visible."""
    svg = (folder / f"{KINDS[name].code}.svg").read_text(encoding="utf-8")
    if colour and KINDS[name].colours:
        svg = recoloured(svg, COLOURS[colour])
    picture = rasterised(svg.encode(), (side, side), name)
    return picture.crop(picture.getchannel("A").getbbox())


def recoloured(svg: str, colour: str) -> str:
    """The drawing with the hue that covers most of it replaced by ``colour``, ``#rrggbb``.

    Darker shades of that hue become darker shades of ``colour``. Outlines stay black.
    """
    new = {code: _hex(_rgb(colour) * light) for code, light in _shades(svg).items()}
    return _COLOUR.sub(lambda found: new.get(_full(found[0]), found[0]), svg)


@lru_cache(maxsize=1)
def _shades(svg: str) -> dict[str, float]:
    """The colours of the hue that covers most of a drawing, with their brightness from 0.5 to 1."""
    areas = _areas(svg)
    groups: Counter[str] = Counter()
    for code, area in areas.items():
        if _group(code) != "black":
            groups[_group(code)] += area
    if not groups:
        return {}
    (group, _), *_ = groups.most_common(1)
    values = {code: float(_rgb(code).max()) for code in areas if _group(code) == group}
    brightest = max(value for code, value in values.items() if areas[code] >= 0.2 * max(areas[c] for c in values))
    return {code: min(1.0, max(0.5, value / brightest)) for code, value in values.items()}


def _areas(svg: str) -> Counter[str]:
    """How many pixels of a small rendering have each of the drawing's colours."""
    pixels = np.asarray(rasterised(svg.encode(), (72, 72), "drawing"))
    seen = Counter(_hex(pixel[:3] / 255) for pixel in pixels[pixels[..., 3] == 255])
    return Counter({code: seen[code] for code in _codes(svg)})


def _codes(svg: str) -> set[str]:
    return {_full(code) for code in _COLOUR.findall(svg)}


def _full(code: str) -> str:
    """``#AbC`` as ``#aabbcc``."""
    code = code.lower()
    return code if len(code) == 7 else "#" + "".join(2 * digit for digit in code[1:])


def _rgb(code: str) -> np.ndarray:
    return np.array([int(code[i : i + 2], 16) for i in (1, 3, 5)]) / 255


def _hex(rgb: np.ndarray) -> str:
    return "#" + "".join(f"{round(255 * float(part)):02x}" for part in rgb)


def _group(code: str) -> str:
    """The hue of a colour in words, ``gray`` or ``black``."""
    hue, saturation, value = colorsys.rgb_to_hsv(*_rgb(code))
    if value < _BLACK:
        return "black"
    if saturation < _GRAY:
        return "gray"
    return next(name for name, end in _HUES.items() if hue * 360 <= end) or "red"
