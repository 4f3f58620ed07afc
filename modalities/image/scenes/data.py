"""Scenes as training data."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from torch import Tensor

from modalities.image.files import to_channels
from modalities.image.pixels import to_pixels, unit_scale
from modalities.image.preparation import require
from modalities.image.scenes.captions import captions
from modalities.image.scenes.objects import BACKGROUNDS
from modalities.image.scenes.scene import LAYOUTS, SIDES, Layout, Scene, Split, Thing, scene
from modalities.image.scenes.sprites import Sprites
from multidiff.data.dataset import Dataset
from multidiff.data.scan import path_of
from multidiff.errors import InputError

if TYPE_CHECKING:
    from modalities.image.modality import ImageModality


class EmojiScenes(Dataset):
    """Drawings of OpenMoji, composed by rule, with captions whose every word is true.

    One or two of a hundred objects, in eight colours or that of nature, small or big, left of, right of, above, below
    or inside of each other, or up to three of one, on a coloured background. `scenes` holds the facts.

    OpenMoji, https://openmoji.org, is licensed CC BY-SA 4.0.

    Args:
        modality: of the images.
        size: pixels of the square, at least 32.
        count: number of scenes.
        split: "test" has the combinations of object and colour, and of two objects in a relation, that "train" lacks.
        seed: scene i of a seed and of layouts is the same, however many there are.
        layouts: which to draw of "single", "several", "pair" and "nested", see `modalities.image.scenes.scene.LAYOUTS`.
        cache: folder for the rasterised drawings; by default that of the user.

    Raises:
        InputError: the packages of the extra ``emoji`` are missing, or a setting cannot be used.
    """

    def __init__(
        self,
        modality: "ImageModality",
        size: int = 32,
        count: int = 60000,
        split: Split = "train",
        seed: int = 0,
        layouts: Sequence[Layout] = LAYOUTS,
        cache: str | Path | None = None,
    ):
        if not isinstance(size, int) or size < 32:
            raise InputError(f"data.size is the pixels of the square, at least 32, not {size}")
        if count < 1:
            raise InputError(f"data.count is the number of scenes, at least 1, not {count}")
        require(split, ("train", "test"), "split")
        if not layouts:
            raise InputError("data.layouts names no layout")
        for layout in layouts:
            require(layout, LAYOUTS, "layouts")
        self.painter = Painter(size, None if cache is None else path_of(cache))
        self.channels, self.shape = modality.channels, (modality.channels, size, size)
        self.scenes: list[Scene] = [scene(seed, index, split, layouts) for index in range(count)]
        self.fields = {"caption": [captions(each, Random(f"{seed}/{i}/text")) for i, each in enumerate(self.scenes)]}
        settings = (self.painter.key, size, count, split, seed, *layouts, self.channels)
        self.origin = hashlib.sha256(repr(settings).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.scenes)

    def data(self, index: int, random: np.random.Generator) -> Tensor:
        return unit_scale(to_pixels(to_channels(self.painter(self.scenes[index]), self.channels)))


class Painter:
    """Makes pictures of scenes.

    Args:
        size: pixels of the square.
        cache: as for `Sprites`.

    Attributes:
        key: hex hash of the drawings.
    """

    def __init__(self, size: int, cache: Path | None = None):
        self.size = size
        self.sprites = Sprites([self.pixels(side) for side in SIDES], cache)
        self.key = self.sprites.key

    def __call__(self, scene: Scene) -> Image.Image:
        canvas = Image.new("RGBA", (self.size, self.size), BACKGROUNDS[scene.background])
        for thing in reversed(scene.things):
            sprite = self.sprite(thing)
            for place in thing.places:
                canvas.alpha_composite(sprite, self._corner(sprite, place))
        return canvas

    def sprite(self, thing: Thing) -> Image.Image:
        """A thing as it appears in a picture."""
        return Image.fromarray(self.sprites(thing.name, thing.colour, self.pixels(thing.side)))

    def pixels(self, side: float) -> int:
        """A length in pictures of 32, in pixels."""
        return round(side * self.size / 32)

    def _corner(self, sprite: Image.Image, place: tuple[float, float]) -> tuple[int, int]:
        """The top left corner of a sprite whose centre is at ``place``, within the picture."""
        x, y = (
            min(max(round(centre * self.size / 32 - side / 2), 0), self.size - side)
            for centre, side in zip(place, sprite.size, strict=True)
        )
        return x, y
