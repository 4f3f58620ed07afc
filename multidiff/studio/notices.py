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


def reported(function: Callable[..., Any], *, on_page: bool = True) -> Callable[..., Any]:
    """``function`` with mistakes of the visitor as messages of one line: in HTML on the page, else in plain text."""

    @wraps(function)
    def call(*arguments: Any, **settings: Any) -> Any:
        try:
            return function(*arguments, **settings)
        except InputError as error:
            raise _message(error, on_page=on_page) from error

    @wraps(function)
    def stream(*arguments: Any, **settings: Any) -> Iterator[Any]:
        try:
            yield from function(*arguments, **settings)
        except InputError as error:
            raise _message(error, on_page=on_page) from error

    return stream if isgeneratorfunction(function) else call


def warn(title: str, reason: InputError | str) -> None:
    """Show a message on the page without failing."""
    gr.Warning(html.escape(_line(reason), quote=False), title=title)


def _message(error: InputError, *, on_page: bool) -> gr.Error:
    title = "Stopped" if isinstance(error, StoppedError) else "Not possible"
    line = html.escape(_line(error), quote=False) if on_page else _line(error)
    return gr.Error(line, title=title, print_exception=False)


def _line(reason: InputError | str) -> str:
    return " ".join(str(reason).split())


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
