"""What a pretrained pipeline is, told by its configs and the shapes of its weights, none of which is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multidiff.configuration import read_json
from multidiff.errors import InputError
from multidiff.pretrained.libraries import library
from multidiff.pretrained.parts import Opened
from multidiff.pretrained.weights import find_weights


@dataclass(frozen=True)
class Outline:
    """A pretrained pipeline without its weights.

    Attributes:
        kind: class of the pipeline in diffusers.
        networks: its parts, by their names in a folder.
        opened: the pipeline that they make; None if one is missing.
        problem: why there is none.
    """

    kind: str
    networks: Mapping[str, Any]
    opened: Opened | None
    problem: str = ""


def empty_network(library_name: str, kind: str, config: Mapping[str, Any]) -> Any:
    """A network whose weights have shapes alone; its tables of positions are real."""
    module = library(library_name)
    with library("accelerate").init_empty_weights():
        if library_name == "diffusers":
            return getattr(module, kind).from_config(config)
        settings = module.T5Config if kind == "T5EncoderModel" else module.CLIPTextConfig
        return getattr(module, kind)(settings(**config))


def outlined_part(folder: Path, library_name: str, kind: str) -> Any:
    """The network of class ``kind`` in the ``folder`` of a part, without its weights.

    Raises:
        InputError: its config or its weights are missing or damaged.
    """
    find_weights(folder, library_name)
    config = read_json(folder / "config.json")
    try:
        return empty_network(library_name, kind, config)
    except Exception as error:  # a damaged config raises any exception
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{folder}/ cannot be opened as a {kind}: {reason}") from error
