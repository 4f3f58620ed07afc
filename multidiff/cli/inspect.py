"""multidiff inspect: what a path is, how much there is of it, and what is wrong with it."""

from pathlib import Path
from typing import Annotated

import typer


def inspect(
    path: Annotated[
        Path, typer.Argument(help="A folder of data, a model or its name, a codec, a LoRA, a run, samples, or a file.")
    ],
    picture: Annotated[Path | None, typer.Option(help="Also write a picture of it, as PNG or JPEG.")] = None,
) -> None:
    """Show what a folder or a file is, and problems that are found in it."""
    from rich.console import Console
    from rich.table import Table

    from multidiff.cli.inspection import inspected
    from multidiff.data.files import new_file
    from multidiff.errors import InputError

    if picture is not None and picture.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise InputError(f"--picture {picture} must end in .png or .jpg")
    found = inspected(path.expanduser())
    table = Table(str(path), found.kind, box=None, title_justify="left")
    for name, value in found.facts.items():
        table.add_row(name, value)
    for problem in found.problems or ["none found"]:
        table.add_row("problem" if found.problems else "problems", problem)
    Console(markup=False).print(table)
    if found.text:
        print(f"\n{found.text}\n")
    if picture is not None:
        image = found.picture()
        with new_file(picture) as part:
            image.convert("RGB").save(part)
        print(f"a picture of it is in {picture}")
