"""Errors and progress as a visitor reads them."""

import html
from collections.abc import Callable, Iterator
from functools import wraps
from inspect import isgeneratorfunction
from typing import Any

import gradio as gr

from multidiff.errors import InputError
from multidiff.studio.jobs import Progress, StoppedError


def reported(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` with mistakes of the visitor as messages on the page, and in answers of the API, in one line."""

    @wraps(function)
    def call(*arguments: Any, **settings: Any) -> Any:
        try:
            return function(*arguments, **settings)
        except InputError as error:
            raise _message(error) from error

    @wraps(function)
    def stream(*arguments: Any, **settings: Any) -> Iterator[Any]:
        try:
            yield from function(*arguments, **settings)
        except InputError as error:
            raise _message(error) from error

    return stream if isgeneratorfunction(function) else call


def warn(title: str, error: InputError) -> None:
    """Show a message on the page without failing."""
    gr.Warning(_line(error), title=title)


def _message(error: InputError) -> gr.Error:
    title = "Stopped" if isinstance(error, StoppedError) else "Not possible"
    return gr.Error(_line(error), title=title, print_exception=False)


def _line(error: InputError) -> str:
    return html.escape(" ".join(str(error).split()), quote=False)


def bar(progress: Progress) -> str:
    """A progress bar in HTML with the time left."""
    percent = round(100 * progress.done)
    left = f", about {progress.left:.0f} s left" if progress.done else ""
    return (
        f'<label class="progress">Denoising: {percent} %{left}'
        f'<progress max="100" value="{percent}">{percent} %</progress></label>'
    )


def done(seconds: float, count: int) -> str:
    """The line that stands in place of the bar afterwards."""
    return f'<p class="progress">{count} sample{"s" if count > 1 else ""} in {seconds:.1f} s, kept in the history</p>'


def failed(error: InputError) -> str:
    """The line in its place where there is no result."""
    return f'<p class="progress">No result: {html.escape(str(error))}</p>'
