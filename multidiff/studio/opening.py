"""The import of Gradio, which takes most of the seconds until the page opens."""

import inspect
from unittest.mock import patch


def import_gradio() -> None:
    """Import Gradio without its type stubs, which it writes into its own folder at each import: a third of the time.

    Gradio asks for the file of each component, and writes no stub of one that has none.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    with patch.object(inspect, "getfile", side_effect=OSError):
        import gradio  # noqa: F401, PLC0415
