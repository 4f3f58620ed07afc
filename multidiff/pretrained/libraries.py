"""The libraries whose classes are wrapped; they are imported only when a pretrained pipeline is opened."""

import importlib
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
