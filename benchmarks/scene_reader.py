"""Reads scenes of `data=emoji_scenes` back from pictures, by matching every object in every colour, size and place.

The pictures are compositions of known drawings, so the best explanation can be searched for: the object whose drawing
reduces the squared difference from the background most, then the next one, as in matching pursuit.
"""

from collections import Counter
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from PIL import Image, ImageColor
from torch import Tensor

from modalities.image.scenes.data import Painter
from modalities.image.scenes.objects import BACKGROUNDS, COLOURS, KINDS
from modalities.image.scenes.scene import FILLING, LARGE, MEDIUM, SIDES, SMALL, Scene

EXPLAINED = 0.35
"""The share of a drawing's energy that must be found, or else it counts as absent."""

AT_MOST = 3
"""Objects in a scene."""

BLOCK = 128
"""Drawings that are matched at once, which fit into the cache of a processor."""


@dataclass(frozen=True)
class Found:
    """An object in a picture: `place` is its centre and `side` its longer side, both in pictures of 32."""

    name: str
    colour: str | None
    side: int
    place: tuple[float, float]


@dataclass(frozen=True)
class Reading:
    """What a picture shows."""

    background: str
    found: tuple[Found, ...]


class Reader:
    """Reads square pictures of the size of ``painter``.

    Every drawing is a difference from the background, ``(3, H, W)``, whose correlation with the picture's gives the
    reduction of the squared error at every place at once.
    """

    def __init__(self, painter: Painter):
        self.painter, self.size = painter, painter.size
        colours = {name: (None, *COLOURS) if kind.colours else (None,) for name, kind in KINDS.items()}
        self.sprites = [(name, colour, side) for side in SIDES for name in KINDS for colour in colours[name]]
        self._banks: dict[str, tuple[Tensor, Tensor]] = {}
        self._shapes = np.array([self._pixels(*sprite).shape[:2] for sprite in self.sprites])
        self._outside = self._crossing_the_edge()

    def __call__(self, image: Image.Image) -> Reading:
        pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
        background = _background(pixels)
        found, error = self._explained(pixels, background, FILLING)
        if found and found[0].side == FILLING:  # it may cover several smaller ones
            others, other_error = self._explained(pixels, background, LARGE)
            found = others if other_error < error else found
        return Reading(background, tuple(found))

    def _explained(self, pixels: np.ndarray, background: str, largest: int) -> tuple[list[Found], float]:
        """Objects whose longer side is at most ``largest``, and the squared error that they leave."""
        spectra, energies = self._bank(background)
        count = sum(side <= largest for _, _, side in self.sprites)
        canvas = np.broadcast_to(_rgb(background), pixels.shape).copy()
        found: list[Found] = []
        while len(found) < AT_MOST:
            nested = bool(found) and found[0].side == FILLING
            best = self._inside(pixels, canvas, found[0]) if nested else None
            best = best or self._best(pixels - canvas, spectra[:, :count], energies[:count])
            if best is None:
                break
            found.append(self._described(*best))
            self._paint(canvas, *best)
            if nested:
                break
        return found, float(((pixels - canvas) ** 2).sum())

    def _pixels(self, name: str, colour: str | None, side: int) -> np.ndarray:
        return self.painter.sprites(name, colour, self.painter.pixels(side))

    def _crossing_the_edge(self) -> Tensor:
        """Whether each drawing with its top left corner at each pixel is partly outside, ``(N, H, W)``."""
        rows, columns = torch.arange(self.size)[None, :, None], torch.arange(self.size)[None, None, :]
        shapes = torch.from_numpy(self._shapes)[:, :, None, None]
        return (rows + shapes[:, 0] > self.size) | (columns + shapes[:, 1] > self.size)

    def _bank(self, background: str) -> tuple[Tensor, Tensor]:
        """The spectra of all drawings on a background, ``(3, N, H, W / 2 + 1)``, and their energies, ``(N,)``."""
        if background not in self._banks:
            rendered = np.zeros((3, len(self.sprites), self.size, self.size), np.float32)
            for i, sprite in enumerate(self.sprites):
                pixels = self._pixels(*sprite).astype(np.float32)
                change = pixels[..., 3:] / 255 * (pixels[..., :3] - _rgb(background))
                rendered[:, i, : change.shape[0], : change.shape[1]] = change.transpose(2, 0, 1)
            drawings = torch.from_numpy(rendered)
            spectra = torch.fft.rfft2(drawings).conj().resolve_conj()
            self._banks[background] = spectra, drawings.square().sum(dim=(0, 2, 3))
        return self._banks[background]

    def _best(self, rest: np.ndarray, spectra: Tensor, energies: Tensor) -> tuple[int, int, int] | None:
        """The drawing and the top left corner that explain most of ``rest``; None if none is found well enough."""
        red, green, blue = torch.fft.rfft2(torch.from_numpy(rest.transpose(2, 0, 1).copy()))
        best, most = (0, 0, 0), -torch.inf
        for start in range(0, len(energies), BLOCK):
            part = slice(start, min(start + BLOCK, len(energies)))
            product = (spectra[0, part] * red).addcmul_(spectra[1, part], green).addcmul_(spectra[2, part], blue)
            gains = 2 * torch.fft.irfft2(product, s=(self.size, self.size)) - energies[part, None, None]
            gains.masked_fill_(self._outside[part], -torch.inf)
            index, row, column = (int(axis) for axis in np.unravel_index(int(gains.argmax()), gains.shape))
            if gains[index, row, column] > most:
                best, most = (start + index, row, column), float(gains[index, row, column])
        return best if most > EXPLAINED * energies[best[0]] else None

    def _inside(self, pixels: np.ndarray, canvas: np.ndarray, outer: Found) -> tuple[int, int, int] | None:
        """The small drawing on top of ``outer`` that explains most."""
        scale, inside = self.size / 32, KINDS[outer.name].inside
        if inside is None:
            return None
        best, most = None, 0.0
        small = [i for i, (name, _, side) in enumerate(self.sprites) if side == SMALL and name != outer.name]
        for index, (down, right) in product(small, product((-1, 0, 1), repeat=2)):
            sprite = self._pixels(*self.sprites[index]).astype(np.float32)
            height, width = sprite.shape[:2]
            row = round(outer.place[1] * scale - height / 2) + down
            column = round(outer.place[0] * scale - width / 2) + right
            area = np.s_[max(row, 0) : row + height, max(column, 0) : column + width]
            rest = pixels[area] - canvas[area]
            if rest.shape[:2] != (height, width):
                continue
            change = sprite[..., 3:] / 255 * (sprite[..., :3] - canvas[area])
            energy = float((change**2).sum())
            gain = 2 * float((rest * change).sum()) - energy
            if gain > max(most, EXPLAINED * energy):
                best, most = (index, row, column), gain
        return best

    def _paint(self, canvas: np.ndarray, index: int, row: int, column: int) -> None:
        sprite = self._pixels(*self.sprites[index]).astype(np.float32)
        area = canvas[row : row + sprite.shape[0], column : column + sprite.shape[1]]
        area += sprite[..., 3:] / 255 * (sprite[..., :3] - area)

    def _described(self, index: int, row: int, column: int) -> Found:
        name, colour, side = self.sprites[index]
        height, width = self._shapes[index]
        centre = (column + width / 2) * 32 / self.size, (row + height / 2) * 32 / self.size
        return Found(name, colour or self._natural(name), side, (float(centre[0]), float(centre[1])))

    def _natural(self, name: str) -> str | None:
        """The colour in which a drawing would look nearly as it does by nature, by hue."""
        if not KINDS[name].colours:
            return None
        own = self._tint(name, None)
        return max(COLOURS, key=lambda colour: float((self._tint(name, colour) * own).sum()))

    def _tint(self, name: str, colour: str | None) -> np.ndarray:
        """How the pixels of a drawing differ from gray, ``(H, W, 3)`` of norm 1."""
        pixels = self._pixels(name, colour, MEDIUM).astype(float)
        tint = (pixels[..., :3] - pixels[..., :3].mean(axis=2, keepdims=True)) * pixels[..., 3:]
        return tint / max(float(np.linalg.norm(tint)), 1e-9)


def score(scene: Scene, reading: Reading) -> dict[str, list[bool]]:
    """Which facts of ``scene`` its picture shows, by attribute. An attribute that its caption leaves open has none."""
    right: dict[str, list[bool]] = {"background": [reading.background == scene.background]}
    left = list(reading.found)
    matched = []
    for thing in scene.things:
        match = next((each for each in left if each.name == thing.name), None)
        matched.append(match)
        right.setdefault("object", []).append(match is not None)
        if match:
            left.remove(match)
    for thing, match in zip(scene.things, matched, strict=True):
        shown = match or (left.pop(0) if left else None)
        if thing.colour:
            right.setdefault("colour", []).append(shown is not None and shown.colour == thing.colour)
        if thing.size:
            right.setdefault("size", []).append(shown is not None and (shown.side >= LARGE) == (thing.size == "big"))
            right["size"][-1] &= shown is not None and shown.side != MEDIUM
    if scene.relation is None:
        right["count"] = [Counter(each.name for each in reading.found)[scene.things[0].name] == scene.count]
    else:
        right["relation"] = [_relation(*matched) == scene.relation]
    return right


def _relation(first: Found | None, second: Found | None) -> str | None:
    """Of the first to the second."""
    if first is None or second is None:
        return None
    right, down = first.place[0] - second.place[0], first.place[1] - second.place[1]
    if max(abs(right), abs(down)) < 5:
        return "inside" if first.side < second.side else None
    if abs(right) > abs(down):
        return "left of" if right < 0 else "right of"
    return "above" if down < 0 else "below"


def _background(pixels: np.ndarray) -> str:
    """The background that most pixels of the edge are near to."""
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    names = list(BACKGROUNDS)
    far = np.stack([np.abs(edge - _rgb(name)).sum(axis=1) for name in names])
    return names[Counter(far.argmin(axis=0).tolist()).most_common(1)[0][0]]


def _rgb(background: str) -> np.ndarray:
    return np.array(ImageColor.getrgb(BACKGROUNDS[background])[:3], np.float32)
