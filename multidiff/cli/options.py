"""Options that several commands share, and the values that they stand for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

Model = Annotated[str, typer.Argument(help="A run directory or a model directory.")]
Out = Annotated[Path, typer.Option(help="A new or empty folder for the files.")]
Count = Annotated[int, typer.Option("-n", help="Number of samples.")]
Label = Annotated[list[str] | None, typer.Option(help="A class; give it again for more, which samples take in turn.")]
Prompt = Annotated[
    list[str] | None, typer.Option(help="A text, for a model trained with captions; give it again for more.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="KEY=VALUE: a further field of the model, or a setting of its modality."),
]
SamplerName = Annotated[str | None, typer.Option("--sampler", help="Name or YAML file; by default the model's own.")]
Steps = Annotated[int | None, typer.Option(help="Steps of the sampler; by default its own.")]
Scale = Annotated[
    float | None,
    typer.Option("--guidance", help="How closely to follow the condition; 1 is off. Default: the model's."),
]
Rule = Annotated[
    str | None, typer.Option("--guidance-rule", help="What the scale means: cfg, cfg_rescaled, cfg_interval or apg.")
]
GuidedField = Annotated[
    str | None, typer.Option("--guidance-field", help="The one field that guidance follows; by default all.")
]
Negative = Annotated[str | None, typer.Option(help="A class or a text that guidance steers away from.")]
Seed = Annotated[int, typer.Option(help="Sample i of a seed is the same, however many are generated.")]
BatchSize = Annotated[int, typer.Option(help="Samples at once; changes speed and memory only.")]


def assignments(texts: Sequence[str] | None) -> dict[str, Any]:
    """``KEY=VALUE`` texts as a mapping; a key that is given several times has the list of its values.

    Raises:
        InputError: a text is not of that form.
    """
    from multidiff.configuration import plain_value
    from multidiff.errors import InputError

    found: dict[str, list[Any]] = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise InputError(f"--set takes KEY=VALUE, got {text!r}")
        found.setdefault(key, []).append(plain_value(value))
    return {key: values[0] if len(values) == 1 else values for key, values in found.items()}


def sampling_settings(
    label: Sequence[str] | None,
    prompt: Sequence[str] | None,
    fields: Mapping[str, Any],
    **settings: Any,
) -> dict[str, Any]:
    """Keyword arguments of `Pipeline.plan`, without those that were not given."""
    given = {"label": label or None, "prompt": prompt or None, "fields": fields or None, **settings}
    return {name: value for name, value in given.items() if value is not None}
