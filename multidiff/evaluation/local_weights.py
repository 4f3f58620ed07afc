"""Weight files of others on this machine. Nothing is ever downloaded: what is missing is named, with its source."""

from pathlib import Path
from typing import Any

from multidiff.data.cache import default_cache
from multidiff.errors import InputError

INSTALL = "pip install 'multidiff-toolkit[features]'"


def place(weights: str | Path | None, name: str) -> Path:
    """Where weights are: ``weights``, or ``name`` in the folder ``weights`` of the cache."""
    return default_cache() / "weights" / name if weights is None else Path(weights).expanduser()


def require_file(path: Path, what: str, source: str) -> None:
    """Refuse to go on without the weights of ``what``, which ``source`` has.

    Raises:
        InputError: they are not there.
    """
    if not path.is_file():
        raise InputError(f"the weights of {what} are not at {path}: put {source} there, or give weights=PATH")


def from_transformers(kind: str, folder: Path, source: str, also: tuple[str, ...] = ()) -> Any:
    """The network ``kind`` of transformers in a folder as it saves them, frozen and in evaluation mode.

    Args:
        kind: name of the class.
        folder: of ``config.json``, ``model.safetensors``, and the files ``also``.
        source: address of such a folder, for messages.

    Raises:
        InputError: a file is missing or damaged, weights of the network are, or transformers is not installed.
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
    except Exception as error:  # transformers raises whatever a damaged file leads it to
        raise InputError(f"{folder}/ does not hold a {kind}; it needs {files}") from error
    if report["missing_keys"]:
        raise InputError(f"{folder / 'model.safetensors'} lacks weights of a {kind}; it needs {files}")
    return network.eval().requires_grad_(False)
