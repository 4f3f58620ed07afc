"""Whether a judge over all emoji reads the right name from the samples of a model, among the first one and five.

The judge compares oriented gradients and colours with those of every drawing; it is not trained. Its accuracy on real
drawings that are shifted, scaled, blurred and noisy is printed beside, and that on drawings that it does not hold:
another skin tone. The distance to the nearest drawing tells how far the samples are copies.

    python benchmarks/emoji_judge.py RUN --prompts 400 --neighbours near.png --picture grid.png
"""

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter
from skimage.feature import hog
from skimage.transform import AffineTransform, warp

import multidiff
from modalities.image.emoji import Emoji
from modalities.image.modality import ImageModality

CELL = 8
"""Side of the cells in which gradients and colours are pooled, in pictures of 64 pixels."""

SHIFT, SCALE, NOISE, BLUR = 2.0, 0.05, 0.05, 0.5
"""Of changed real drawings, at most: in pixels of 64, as a fraction, of full scale, in pixels."""

FIRST = 5

SIDE = 64
"""Pixels of the pictures that are judged; others are resized."""

SHOWN = (
    *("dog face", "cat face", "lion", "panda", "fox", "frog", "octopus", "butterfly"),
    *("sunflower", "cactus", "red apple", "watermelon", "pizza", "birthday cake", "mushroom", "penguin"),
    *("rocket", "sailboat", "guitar", "crown", "rainbow", "red heart", "robot", "umbrella"),
)
"""Prompts of the picture."""

Row = dict[str, float]
Pixels = np.ndarray
"""uint8 ``(64, 64, 3)``."""


class Judge:
    """Ranks the names of all emoji for a picture, by the drawing of each that is most alike.

    Names that share a drawing, to the pixel, count as one.

    Attributes:
        drawings: uint8 ``(N, 64, 64, 3)``; an emoji may have several.
        owners: index of the emoji of each drawing, ``(N,)``.
        names: of the emoji.
    """

    def __init__(self) -> None:
        data = Emoji(ImageModality(3), SIDE)
        self.names = [captions[0] for captions in data.fields["caption"]]
        self.drawings = np.stack([data.store[i] for i in range(len(data.store))]).transpose(0, 2, 3, 1)
        self.owners = np.repeat(np.arange(len(data)), np.diff([0, *data.ends]))
        self.features = np.stack([features(drawing) for drawing in self.drawings])
        self._flat = self.drawings.reshape(len(self.drawings), -1).astype(np.float32) / 255
        self._energies = (self._flat**2).sum(axis=1)
        _, self._same = np.unique([drawing.tobytes() for drawing in self.drawings], return_inverse=True)

    def rank(self, picture: Pixels, emoji: int, without: int | None = None) -> int:
        """How many names are read before that of ``emoji``: 0 if it is the first.

        Args:
            picture: what is read.
            emoji: index of the name that is right.
            without: index of a drawing that the judge leaves out.
        """
        likeness = self.features @ features(picture)
        if without is not None:
            likeness[without] = -1
        best = np.full(len(self.names), -1.0)
        np.maximum.at(best, self.owners, likeness)
        twins = np.isin(self._same, self._same[self.owners == emoji])
        return int((best > likeness[twins].max() + 1e-6).sum())

    def nearest(self, picture: Pixels, without: int | None = None) -> tuple[int, float]:
        """The index of the nearest drawing, and its distance: the root mean square of pixels from 0 to 1.

        Args:
            picture: uint8 ``(64, 64, 3)``.
            without: index of an emoji whose drawings are left out.
        """
        flat = picture.ravel().astype(np.float32) / 255
        squares = self._energies - 2 * self._flat @ flat + flat @ flat
        squares[self.owners == without] = np.inf
        found = int(squares.argmin())
        return found, float(np.sqrt(max(squares[found], 0) / len(flat)))


def features(picture: Pixels) -> np.ndarray:
    """Oriented gradients (Dalal and Triggs, 2005) and colours of cells, each of norm 1; white is no colour."""
    gradients = hog(picture / 255, 9, (CELL, CELL), (2, 2), channel_axis=2).astype(np.float32)
    side = len(picture) // CELL
    colours = np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BOX), np.float32).ravel() - 255
    return np.concatenate([part / max(float(np.linalg.norm(part)), 1e-6) for part in (gradients, colours)]) / 2**0.5


def changed(picture: Pixels, random: np.random.Generator) -> Pixels:
    """The picture shifted, scaled, blurred and with noise."""
    scale = 1 + random.uniform(-SCALE, SCALE)
    place = len(picture) / 2 * (1 - scale) + random.uniform(-SHIFT, SHIFT, 2)
    moved = warp(picture / 255, AffineTransform(scale=scale, translation=place).inverse, cval=1)
    noisy = gaussian_filter(moved, (BLUR, BLUR, 0)) + NOISE * random.standard_normal(picture.shape)
    return (255 * noisy.clip(0, 1)).round().astype(np.uint8)


def real(judge: Judge, count: int) -> dict[str, Row]:
    """The accuracy on changed drawings, and on drawings of other skin tones than those that the judge has."""
    random = np.random.default_rng(0)
    toned = np.flatnonzero(np.bincount(judge.owners)[judge.owners] >= FIRST)
    some, tones = (random.permutation(each)[:count] for each in (np.arange(len(judge.owners)), toned))
    pictures, owners = [changed(judge.drawings[i], random) for i in some], judge.owners[some]
    apart = [judge.nearest(judge.drawings[i], judge.owners[i])[1] for i in some]
    return {
        "real, changed": {
            **accuracies([judge.rank(picture, i) for picture, i in zip(pictures, owners, strict=True)]),
            "distance to the nearest drawing of another emoji": float(np.mean(apart)),
        },
        "real, other skin tone": accuracies([judge.rank(judge.drawings[i], judge.owners[i], i) for i in tones]),
    }


def accuracies(ranks: Sequence[int]) -> Row:
    """The shares of names that are read first, and among the first five."""
    found = np.asarray(ranks)
    return {"top-1": float((found < 1).mean()), f"top-{FIRST}": float((found < FIRST).mean()), "count": len(found)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="a run or model directory; without one, only real drawings are read")
    parser.add_argument("--prompts", type=int, default=400, help="names, chosen at random")
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 2.0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of sampling")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--neighbours", type=Path, help="write a picture: samples beside their nearest drawings")
    parser.add_argument("--picture", type=Path, help="write a picture of 24 prompts, with the text under each")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    judge = Judge()
    rows = real(judge, options.prompts)
    if options.model:
        pipeline = multidiff.load(options.model)
        draw = partial(pipeline.sample, steps=options.steps, seed=options.seed, batch_size=options.batch_size)
        chosen = np.random.default_rng(1).permutation(len(judge.names))[: options.prompts]
        for guidance in options.guidance:
            images = draw(len(chosen), prompt=[judge.names[i] for i in chosen], guidance=guidance)
            rows[f"guidance {guidance:g}"] = judged(judge, images, chosen, options.neighbours)
        if options.picture:
            images = draw(len(SHOWN), prompt=SHOWN, guidance=options.guidance[-1])
            tiled([labelled(*pair) for pair in zip(images, SHOWN, strict=True)], 8).save(options.picture)
    for source, row in rows.items():
        print(f"{source}: " + "  ".join(f"{name} {value:.3g}" for name, value in row.items()))
    if options.json:
        figures = {"steps": options.steps, "seed": options.seed, "rows": rows}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def judged(judge: Judge, images: Sequence[Image.Image], emoji: Sequence[int], neighbours: Path | None) -> Row:
    """The accuracy on samples, and how near they are to drawings; ``neighbours`` is the picture to write, if any."""
    pictures = [np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)) for image in images]
    nearest = [judge.nearest(picture) for picture in pictures]
    if neighbours:
        pairs = [np.hstack([picture, judge.drawings[i]]) for picture, (i, _) in zip(pictures, nearest, strict=True)]
        tiled([Image.fromarray(pair) for pair in pairs[:48]], 6).save(neighbours)
    own = [judge.owners[drawing] == i for (drawing, _), i in zip(nearest, emoji, strict=True)]
    return {
        **accuracies([judge.rank(picture, i) for picture, i in zip(pictures, emoji, strict=True)]),
        "distance to the nearest drawing": float(np.mean([distance for _, distance in nearest])),
        "which has the prompt's name": float(np.mean(own)),
    }


def labelled(image: Image.Image, text: str) -> Image.Image:
    """The image, twice as large, with its prompt under it."""
    side = 2 * SIDE
    canvas = Image.new("RGB", (side, side + 20), "white")
    canvas.paste(image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS))
    ImageDraw.Draw(canvas).text((SIDE, side + 2), text, fill="black", anchor="ma", font=ImageFont.load_default(14))
    return canvas


def tiled(images: Sequence[Image.Image], columns: int, gap: int = 8) -> Image.Image:
    """Images of one size in rows."""
    width, height = (side + gap for side in images[0].size)
    canvas = Image.new("RGB", (columns * width + gap, -(-len(images) // columns) * height + gap), "white")
    for i, image in enumerate(images):
        canvas.paste(image, (gap + i % columns * width, gap + i // columns * height))
    return canvas


if __name__ == "__main__":
    main()
