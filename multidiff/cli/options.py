"""Options that several commands share, and the values that they stand for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from multidiff.sampling.pipeline import Pipeline

USUAL, LARGE = 16, 4
"""Samples by default, and of pretrained pipelines, which are large."""

Model = Annotated[
    str,
    typer.Argument(help="A run or model directory, a folder that diffusers saved, or the name of a bundled model."),
]
Out = Annotated[Path, typer.Option(help="A new or empty folder for the files.")]
Count = Annotated[
    int | None, typer.Option("-n", help=f"Number of samples. Default: {USUAL}, or {LARGE} for a pretrained pipeline.")
]
Label = Annotated[list[str] | None, typer.Option(help="Class label. Repeat for several; samples cycle through them.")]
Prompt = Annotated[
    list[str] | None,
    typer.Option(help="Text prompt, for a model trained with captions; (red:1.3) weights words. Repeat for several."),
]
Prompts = Annotated[
    Path | None, typer.Option(help="Text file with one prompt per line; -n samples of each, from the same noise.")
]
Versions = Annotated[
    int | None,
    typer.Option(
        "-n",
        help=f"Number of samples. Default: {USUAL}, {LARGE} for a pretrained pipeline, or 1 per prompt with --prompts.",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="KEY=VALUE: another condition of the model, or a setting of its modality."),
]
SamplerName = Annotated[
    str | None, typer.Option("--sampler", help="Name or sampler file (YAML). Default: the model's.")
]
Steps = Annotated[int | None, typer.Option(help="Number of steps. Default: the sampler's.")]
Scale = Annotated[
    float | None,
    typer.Option("--guidance", help="Guidance scale; 1 disables guidance. Default: the model's."),
]
Rule = Annotated[
    str | None, typer.Option("--guidance-rule", help="Guidance rule: cfg, cfg_rescaled, cfg_interval or apg.")
]
GuidedField = Annotated[
    str | None, typer.Option("--guidance-field", help="Apply guidance to this field only. Default: all fields.")
]
Negative = Annotated[str | None, typer.Option(help="Label or text that guidance steers away from.")]
Lora = Annotated[
    list[str] | None,
    typer.Option(
        "--lora",
        help="FILE[:WEIGHT]: a LoRA for a pretrained pipeline, or its folder. Weight 1 by default. Repeatable.",
    ),
]
Turntable = Annotated[bool, typer.Option("--turntable", help="Also write turntable.webp, an animation (shapes only).")]
Seed = Annotated[int, typer.Option(help="Random seed; sample i depends only on the seed and i.")]
BatchSize = Annotated[
    int | None,
    typer.Option(
        help="Batch size; affects speed and memory; results differ by rounding only. Default: set by the sample size."
    ),
]

Precision = Annotated[
    str | None,
    typer.Option(help="Precision: float32, bfloat16, or auto (the faster one). Default: the sampler's."),
]
Compile = Annotated[
    bool | None, typer.Option("--compile/--no-compile", help="Compile the network; it pays off for many samples.")
]


def count(given: int | None, pipeline: "Pipeline", settings: Mapping[str, Any]) -> int:
    """The number of samples ``given``; by default the usual one, or that of the values of a field if there are more."""
    if given is not None:
        return given
    values = [settings.get("label"), settings.get("prompt"), *settings.get("fields", {}).values()]
    usual = 1 if settings.get("prompts") else LARGE if pipeline.pretrained else USUAL
    return max([usual, *(len(each) for each in values if isinstance(each, list | tuple))])


def assignments(texts: Sequence[str] | None) -> dict[str, Any]:
    """``KEY=VALUE`` texts as a mapping; a key that is given several times has the list of its values.

    Raises:
        InputError: a text is not of that form.
    """
    from multidiff.errors import InputError

    found: dict[str, list[Any]] = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InputError(f"--set takes KEY=VALUE, got {text!r}")
        found.setdefault(key, []).append(_value(value))
    return {key: values[0] if len(values) == 1 else values for key, values in found.items()}


def weighted_files(texts: Sequence[str] | None) -> dict[str, float]:
    """``FILE[:WEIGHT]`` texts as a mapping; the weight is 1 by default.

    Raises:
        InputError: a weight is not a number, or a file is given twice.
    """
    from multidiff.errors import InputError

    found: dict[str, float] = {}
    for text in texts or ():
        path, colon, weight = text.rpartition(":")
        if not colon or Path(text).expanduser().exists():
            path, weight = text, "1"
        try:
            number = float(weight)
        except ValueError as error:
            raise InputError(
                f"--lora takes FILE[:WEIGHT], got {text!r}: there is no such file, and {weight!r} is not a number"
            ) from error
        if path in found:
            raise InputError(f"--lora {path} is given twice: add the weights, and give it once")
        found[path] = number
    return found


def _value(text: str) -> Any:
    """A JSON value; the text itself if it is not JSON, as ``no`` and ``007``."""
    import json

    try:
        return json.loads(text)
    except ValueError:
        return text


def sampling_settings(
    label: Sequence[str] | None,
    prompt: Sequence[str] | None,
    fields: Mapping[str, Any],
    **settings: Any,
) -> dict[str, Any]:
    """Keyword arguments of `Pipeline.plan`, without those that were not given."""
    given = {"label": label or None, "prompt": prompt or None, "fields": fields or None, **settings}
    return {name: value for name, value in given.items() if value is not None}
