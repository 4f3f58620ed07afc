"""What a request for samples may say, and what is said where it asks for something else."""

from collections.abc import Callable, Sequence
from functools import wraps
from inspect import Parameter, signature
from typing import ParamSpec, TypedDict, TypeVar

from multidiff.sampling.plan import Guide

Names = str | int | Sequence[str | int]
"""A label or a prompt for all samples, or several that the samples take in turn."""

P = ParamSpec("P")
R = TypeVar("R")


class Changes(TypedDict, total=False):
    """Where a request differs from how a model is sampled by default; `Pipeline.sample` explains each."""

    sampler: str | None
    steps: int | None
    guidance: Guide | None
    guidance_rule: str | None
    negative: str | int | None


class Request(Changes, total=False):
    """What every way of drawing samples takes by keyword."""

    label: Names | None
    prompt: Names | None
    batch_size: int


def takes_a_request(draw: Callable[P, R]) -> Callable[P, R]:
    """``draw``, whose ``**request`` is a `Request`, with a TypeError that tells a caller of the words that it takes."""
    _, *own = signature(draw).parameters.values()
    named = [word.name for word in own if word.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)]
    words = [*named, *sorted(Request.__optional_keys__)]

    @wraps(draw)
    def checked(*args: P.args, **given: P.kwargs) -> R:
        if unknown := [word for word in given if word not in words]:
            raise TypeError(f"{draw.__name__}() does not take {', '.join(unknown)}; it takes {', '.join(words)}")
        return draw(*args, **given)

    return checked
