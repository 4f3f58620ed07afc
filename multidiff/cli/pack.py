"""multidiff pack: a trained model as one small directory, to share it."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from multidiff.cli import options


class Format(StrEnum):
    """Programs that open the folder."""

    MULTIDIFF = "multidiff"
    DIFFUSERS = "diffusers"


def pack(
    model: options.Model,
    out: Annotated[Path, typer.Option(help="A new folder, or one of a model, which is replaced.")],
    about: Annotated[Path | None, typer.Option(help="Markdown file for the model card: data, scores, limits.")] = None,
    licence: Annotated[str, typer.Option(help="Licence for the model card, such as cc-by-sa-4.0.")] = "",
    format: Annotated[
        Format, typer.Option(help="Of the folder; diffusers for a model with backbone=unet_diffusers, unrounded.")
    ] = Format.MULTIDIFF,
) -> None:
    """Write a model, with its learned codec, into one folder of half the size.

    The weights are rounded to 16 bits; they compute in 32 bits as before.
    """
    from multidiff.data.captions import read_text
    from multidiff.sampling import packing

    packed = packing.pack_for_diffusers if format == Format.DIFFUSERS else packing.pack
    found = packed(Path(model).expanduser(), out, licence, "" if about is None else read_text(about))
    apart = found.difference
    compared = "" if apart is None else f"; samples differ by {apart:.2%} of their standard deviation"
    print(f"{found.size / 1e6:.2f} MB in {out}{compared}")
