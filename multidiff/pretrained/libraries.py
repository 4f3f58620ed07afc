"""The libraries whose classes are wrapped; they are imported only when a pretrained pipeline is opened."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from multidiff.errors import InputError

INSTALL = "pip install 'multidiff-toolkit[pretrained]'"


def library(name: str) -> Any:
    """The module ``diffusers``, ``transformers`` or ``peft``.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"pretrained pipelines need {name}: {INSTALL}") from error


@contextmanager
def quietly(module: Any) -> Iterator[None]:
    """No report and no progress bar of a library: whatever matters of it is an error here."""
    logging = module.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
