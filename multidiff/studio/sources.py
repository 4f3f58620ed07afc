"""What an edit starts from: a file that a visitor gives, and the part of it that is regenerated."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from multidiff.errors import InputError

EDITED = 512
"""Pixels of the longer side up to which small images are enlarged while they are painted on."""


BRUSH = "#e11d48"
"""The colour of what is painted."""


class Source(ABC):
    """Takes a file in the way that suits its kind.

    Attributes:
        region_help: how the part that is regenerated is written; None where it is painted.
        hint: how it is painted.
    """

    region_help: str | None = None
    hint: str | None = None

    @abstractmethod
    def component(self) -> gr.components.Component:
        """For the file."""

    def init(self, value: Any, size: tuple[int, ...], folder: Path) -> Path:
        """The file that the component holds, within ``folder``; ``size`` is that of the samples.

        Raises:
            InputError: it holds none.
        """
        if not value:
            raise InputError("give a file to start from")
        given = Path(str(value))
        copy = folder / f"init{given.suffix.lower()}"
        copy.write_bytes(given.read_bytes())
        return copy

    def region(self, value: Any, text: str, size: tuple[int, ...], folder: Path) -> str:
        """The part that is regenerated, as `Modality.region` takes it."""
        return text

    def filled(self, init: Path, mask: Path | None) -> Any:
        """The value by which the component holds the file ``init``, and the ``mask`` that was painted on it."""
        return str(init)


class Painted(Source):
    """An image, and a mask that is painted on it."""

    hint = "To regenerate a part, paint it on the image."

    def component(self) -> gr.ImageEditor:
        editor = gr.ImageEditor(
            label="Image",
            type="pil",
            format="png",  # Gradio's own is lossy
            sources=["upload", "clipboard"],
            transforms=(),
            layers=False,
            brush=gr.Brush(colors=[BRUSH], color_mode="fixed"),
            height=420,
        )
        editor.upload(self.enlarged, editor, editor, api_visibility="private", show_progress="hidden")
        return editor

    def enlarged(self, value: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """A small image with each pixel as a square, since the brush of the editor is 50 pixels wide."""
        image = value["background"] if value else None
        if image is None or _times(image) < 2:
            return value
        large = _larger(image)
        return {"background": large, "layers": [], "composite": large}

    def init(self, value: Any, size: tuple[int, ...], folder: Path) -> Path:
        """The image, at the size of the samples; of whole squares of pixels, the mean, which undoes `enlarged`."""
        if not value or value.get("background") is None or not value["background"].getbbox():
            raise InputError("give an image to start from")
        image = value["background"]
        channels = "RGBA" if size[0] == 4 else "RGB"
        path = folder / "init.png"
        whole = image.width % size[2] == image.height % size[1] == 0
        filter_ = Image.Resampling.BOX if whole else Image.Resampling.LANCZOS
        image.convert(channels).resize((size[2], size[1]), filter_).save(path)
        return path

    def region(self, value: Any, text: str, size: tuple[int, ...], folder: Path) -> str:
        """A picture that is white where something was painted."""
        painted = np.zeros((size[1], size[2]), bool)
        for layer in value["layers"]:
            small = layer.convert("RGBA").getchannel("A").resize((size[2], size[1]), Image.Resampling.BOX)
            painted |= np.asarray(small) > 127
        if not painted.any():
            raise InputError("paint the part of the image that is to be regenerated")
        path = folder / "mask.png"
        Image.fromarray((painted * 255).astype(np.uint8)).save(path)
        return str(path)

    def filled(self, init: Path, mask: Path | None) -> Any:
        image, layers = Image.open(init).convert("RGBA"), []
        if mask is not None:
            painted = Image.new("RGBA", image.size, BRUSH)
            painted.putalpha(Image.open(mask).convert("L").resize(image.size))
            layers = [_larger(painted)]
        return {"background": _larger(image), "layers": layers, "composite": _larger(image)}


def _times(image: Image.Image) -> int:
    """How many times as large a small image is shown."""
    return max(1, EDITED // max(image.size))


def _larger(image: Image.Image) -> Image.Image:
    """A small image with each pixel as a square."""
    size = (_times(image) * image.width, _times(image) * image.height)
    return image.resize(size, Image.Resampling.NEAREST)


class Recorded(Source):
    """A sound, and a span of time."""

    region_help = "START:END in seconds, such as 0.2:0.5"

    def component(self) -> gr.Audio:
        return gr.Audio(label="Sound", type="filepath", sources=["upload", "microphone"])


class Scanned(Source):
    """A shape, and a fraction of its points."""

    region_help = "the fraction of the points, such as 0.5"

    def component(self) -> gr.File:
        return gr.File(label="Shape, as a mesh or as points", type="filepath", height=120)


SOURCES: Mapping[str, Source] = {"picture": Painted(), "player": Recorded(), "solid": Scanned()}
"""Sources by the name that `Modality.viewer` has."""
