"""Errors and progress as a visitor reads them."""

import html
from collections.abc import Callable, Iterator
from functools import wraps
from inspect import isgeneratorfunction
from typing import Any

import gradio as gr

from multidiff.errors import InputError
from multidiff.studio.jobs import Progress, StoppedError
from multidiff.studio.line import Waiting


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


def warn(title: str, reason: InputError | str) -> None:
    """Show a message on the page without failing."""
    gr.Warning(_line(reason), title=title)


def _message(error: InputError) -> gr.Error:
    title = "Stopped" if isinstance(error, StoppedError) else "Not possible"
    return gr.Error(_line(error), title=title, print_exception=False)


def _line(reason: InputError | str) -> str:
    return html.escape(" ".join(str(reason).split()), quote=False)


def bar(progress: Progress | Waiting) -> str:
    """The place in the line, then a progress bar with the time left, in HTML."""
    if isinstance(progress, Waiting):
        requests = "1 request is" if progress.before == 1 else f"{progress.before} requests are"
        return said(f"Waiting: {requests} before this one")
    percent = round(100 * progress.done)
    left = f", about {progress.left:.0f} s left" if progress.done else ""
    return (
        f'<label class="progress">Denoising: {percent} %{left}'
        f'<progress max="100" value="{percent}">{percent} %</progress></label>'
    )


def done(seconds: float, count: int) -> str:
    """The line that stands in place of the bar afterwards."""
    return said(f"{count} sample{'s' if count > 1 else ''} in {seconds:.1f} s, kept in the history")


def said(line: str) -> str:
    """A line of text in the same place."""
    return f'<p class="progress">{html.escape(line, quote=False)}</p>'


def failed(error: InputError) -> str:
    """The line in its place where there is no result."""
    return said(f"No result: {error}")
