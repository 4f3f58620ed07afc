"""multidiff pack: a trained model as one small directory, to share it; a pretrained pipeline with its LoRAs."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from multidiff.cli import options


class Format(StrEnum):
    """Programs that open the folder, or the single file of other programs."""

    MULTIDIFF = "multidiff"
    DIFFUSERS = "diffusers"
    SINGLE = "single"


def pack(
    model: options.Model,
    out: Annotated[Path, typer.Option(help="A new folder, or a packed model to replace; for single, a file.")],
    about: Annotated[Path | None, typer.Option(help="Markdown file for the model card: data, scores, limits.")] = None,
    licence: Annotated[
        str,
        typer.Option(
            help="Licence for the model card, such as cc-by-sa-4.0; by default, that of the model's own card."
        ),
    ] = "",
    format: Annotated[
        Format,
        typer.Option(
            help="diffusers: a folder, of a pretrained pipeline or a model with backbone=unet_diffusers; single: one "
            "file of a pretrained pipeline, for ComfyUI and A1111."
        ),
    ] = Format.MULTIDIFF,
    lora: options.Lora = None,
) -> None:
    """Write a model, with its learned codec, into one folder of half the size.

    The weights are stored in 16 bits and loaded as 32 bits. Weights of pretrained pipelines keep their types.
    """
    from multidiff.data.captions import read_text
    from multidiff.errors import InputError
    from multidiff.sampling import packing
    from multidiff.sampling.model_directory import find_pipeline

    place = Path(model).expanduser()
    pipeline, stack = find_pipeline(place), options.weighted_files(lora)
    if pipeline and format != Format.MULTIDIFF:
        if about is not None or licence:
            raise InputError("--about and --licence are for the card of a model that was trained here")
        whole = packing.pack_single if format == Format.SINGLE else packing.pack_pipeline
        print(f"{whole(pipeline, out, stack).size / 1e6:.2f} MB in {out}")
        return
    if stack or format == Format.SINGLE:
        raise InputError(
            f"--lora and --format single are for a pretrained pipeline, packed for other programs: {model}"
        )
    packed = packing.pack_for_diffusers if format == Format.DIFFUSERS else packing.pack
    found = packed(place, out, licence, "" if about is None else read_text(about))
    apart = found.difference
    compared = "" if apart is None else f"; samples differ by {apart:.2%} of their standard deviation"
    print(f"{found.size / 1e6:.2f} MB in {out}{compared}")
