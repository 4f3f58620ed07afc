"""Generated artifacts as a person meets them in Python: a bar while they are made, a grid in a notebook."""

import base64
import html
import sys
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from io import BytesIO
from typing import TYPE_CHECKING, Any

from PIL import Image
from torch import Tensor

from multidiff.sampling.guidance import Fields
from multidiff.sampling.plan import Plan

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 48
"""Artifacts that a notebook shows of a list."""

SIDES = (128, 256)
"""Smallest and largest width of a picture in the grid, in pixels."""

NAMELESS = ("label", "caption")
"""Fields whose values say what they are."""


class Gallery(list[Any]):
    """A list of generated artifacts, which a notebook shows as a grid of pictures or players, with their fields.

    Args:
        artifacts: that were generated.
        fields: of each of them.
    """

    def __init__(self, artifacts: Iterable[Any] = (), fields: Sequence[Fields] = ()):
        super().__init__(artifacts)
        self.requests = tuple(zip(self, fields, strict=False))

    def _repr_html_(self) -> str:
        texts = {id(artifact): requested(fields) for artifact, fields in self.requests}
        shown = [figure(artifact, texts.get(id(artifact), "")) for artifact in self[:SHOWN]]
        more = f"<p>and {len(self) - SHOWN} more</p>" if len(self) > SHOWN else ""
        return f'<div style="display:flex;flex-wrap:wrap;gap:8px">{"".join(shown)}</div>{more}'


def generated(plan: Plan) -> Gallery:
    """All samples of ``plan``, with a bar on a terminal and in a notebook while they are generated."""
    from rich.console import Console  # noqa: PLC0415  a model opens without it
    from rich.progress import Progress  # noqa: PLC0415

    console, artifacts, conditions = Console(), [], plan.conditions()
    with Progress(console=console, transient=True, disable=not watched(console)) as progress:
        task = progress.add_task("sampling", total=1.0)
        for rows in plan.batches:

            def step(number: int, x: Tensor, rows: range = rows) -> None:
                progress.update(task, completed=plan.done(rows, number))

            artifacts += plan.generate(rows, step, conditions)
    return Gallery(artifacts, plan.samples)


def watched(console: "Console") -> bool:
    """Whether a person sees a bar on ``console``: not in a file or a pipe, nor in a notebook without ipywidgets."""
    return find_spec("ipywidgets") is not None if console.is_jupyter else sys.stdout.isatty()


def requested(fields: Fields) -> str:
    """The values that a sample was generated for, as a caption."""
    known = {name: value for name, value in fields.items() if value is not None}
    return ", ".join(str(value) if name in NAMELESS else f"{name} {value}" for name, value in known.items())


def figure(artifact: Any, text: str) -> str:
    """An artifact in HTML, by its own way to show itself in a notebook, above ``text``; as a picture if it can."""
    if hasattr(artifact, "_repr_png_"):
        content = picture(artifact._repr_png_())
    elif hasattr(artifact, "_repr_html_"):
        content = artifact._repr_html_()
    else:
        content = html.escape(repr(artifact))
    caption = f'<figcaption style="max-width:300px">{html.escape(text)}</figcaption>' if text else ""
    return f'<figure style="margin:0">{content}{caption}</figure>'


def picture(png: bytes) -> str:
    """A PNG in HTML, at a width within `SIDES`: a larger one is reduced, so that a notebook does not grow by it."""
    with Image.open(BytesIO(png)) as image:
        smallest, largest = SIDES
        width = image.width
        if max(image.size) > largest:
            image.thumbnail((largest, largest))
            reduced = BytesIO()
            image.save(reduced, format="PNG")
            png, width = reduced.getvalue(), image.width
    style = f"width:{smallest}px;image-rendering:pixelated" if width < smallest else f"width:{width}px"
    return f'<img style="{style}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
