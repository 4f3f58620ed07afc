"""The import of Gradio, which is a good part of the seconds until the page opens."""

import inspect
from typing import Any
from unittest.mock import patch


def import_gradio() -> None:
    """Import Gradio without its type stubs, which it writes into its own folder at each import: a third of the time.

    Gradio asks for the file of each component, and writes no stub of one that has none.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    with patch.object(inspect, "getfile", _file_outside_gradio):
        import gradio  # noqa: F401, PLC0415


def _file_outside_gradio(thing: Any, known: Any = inspect.getfile) -> str:
    """The source file of ``thing``, as other packages and threads ask for theirs meanwhile; an `OSError` for Gradio."""
    if str(getattr(thing, "__module__", "")).startswith("gradio."):
        raise OSError("no stub is wanted")
    return known(thing)
