"""multidiff pack: a trained model as one small directory, to share it."""

from pathlib import Path
from typing import Annotated

import typer

from multidiff.cli import options


def pack(
    model: options.Model,
    out: Annotated[Path, typer.Option(help="A new folder, or one of a model, which is replaced.")],
    about: Annotated[Path | None, typer.Option(help="Markdown file for the model card: data, scores, limits.")] = None,
    licence: Annotated[str, typer.Option(help="Licence for the model card, such as cc-by-sa-4.0.")] = "",
) -> None:
    """Write a model, with its learned codec, into one folder of half the size.

    The weights are rounded to 16 bits; they compute in 32 bits as before.
    """
    from multidiff.data.captions import read_text
    from multidiff.sampling.packing import pack as packed

    found = packed(Path(model).expanduser(), out, licence, "" if about is None else read_text(about))
    print(f"{found.size / 1e6:.2f} MB in {out}; samples differ by {found.difference:.2%} of their standard deviation")
