"""Pretrained weights on this machine. Nothing is downloaded; a message names a missing file and its source."""

from pathlib import Path
from typing import Any, ClassVar

from multidiff.data.cache import default_cache
from multidiff.errors import InputError
from multidiff.evaluation.features import Features

INSTALL = "pip install 'multidiff-toolkit[features]'"


class Pretrained(Features):
    """Features of a pretrained network.

    Args:
        weights: file or folder; by default `default` in the folder ``weights`` of the cache.
    """

    default: ClassVar[str]

    def __init__(self, weights: str | Path | None = None):
        self.weights = place(weights, self.default)


def place(weights: str | Path | None, name: str) -> Path:
    """Where weights are: ``weights``, or ``name`` in the folder ``weights`` of the cache."""
    return default_cache() / "weights" / name if weights is None else Path(weights).expanduser()


def require_file(path: Path, what: str, source: str) -> None:
    """Refuse a missing file of weights.

    Args:
        path: of the file.
        what: name of the network, for the message.
        source: address of the file, for the message.

    Raises:
        InputError: there is no such file.
    """
    if not path.is_file():
        raise InputError(f"the weights of {what} are not at {path}: put {source} there, or give weights=PATH")


def from_transformers(kind: str, folder: Path, source: str, also: tuple[str, ...] = ()) -> Any:
    """The network ``kind`` from a folder that transformers saved, frozen and in evaluation mode.

    Args:
        kind: name of the class in transformers.
        folder: with ``config.json``, ``model.safetensors``, and the files ``also``.
        source: address of such a folder, for messages.
        also: further files that the folder must have.

    Raises:
        InputError: a file or a weight is missing, a file is damaged, or transformers is not installed.
    """
    names = ("config.json", "model.safetensors", *also)
    files = f"{', '.join(names[:-1])} and {names[-1]} of {source}"
    if not all((folder / name).is_file() for name in names):
        raise InputError(f"the weights are not at {folder}/: put {files} there, or give weights=FOLDER")
    try:
        import transformers  # noqa: PLC0415
    except ImportError as error:
        raise InputError(f"features from {folder}/ need transformers: {INSTALL}") from error
    try:
        network, report = getattr(transformers, kind).from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:  # a damaged file raises any exception
        raise InputError(f"{folder}/ does not hold a {kind}; it needs {files}") from error
    if report["missing_keys"]:
        raise InputError(f"{folder / 'model.safetensors'} lacks weights of a {kind}; it needs {files}")
    return network.eval().requires_grad_(False)
