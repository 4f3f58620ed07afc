"""What is a pretrained pipeline: a folder that diffusers saved, or a single file."""

from pathlib import Path

from multidiff.pretrained.folder import INDEX, folder_hash, folder_parts, open_folder, outline_folder
from multidiff.pretrained.outline import Outline
from multidiff.pretrained.parts import Opened, Parts
from multidiff.pretrained.single_file import file_hash, file_parts, open_file, outline_file
from multidiff.pretrained.weights import PICKLES, refused_pickle


def is_pipeline(path: Path) -> bool:
    """Whether ``path`` holds a pretrained pipeline, or weights that somebody takes for one."""
    return (path / INDEX).is_file() or (path.suffix in (".safetensors", *PICKLES) and path.is_file())


def pipeline_hash(path: Path) -> str:
    """One hash of all configs, tokenizers and weights of a pipeline.

    Raises:
        InputError: it is a file that is no pipeline.
    """
    return file_hash(path) if path.is_file() else folder_hash(path)


def open_pipeline(path: Path, device: str) -> Opened:
    """The pipeline in a folder or a file; nothing is fetched, and no code of it runs.

    On a GPU the weights keep the precision of their files; on a CPU they are in float32.

    Raises:
        InputError: a part is missing, damaged, or of a kind that is not supported.
    """
    _refuse_pickle(path)
    return open_file(path, device) if path.is_file() else open_folder(path, device)


def stored_parts(path: Path) -> Parts:
    """The parts of the pipeline in a folder or a file, each in the precision in which it is stored.

    Raises:
        InputError: as for `open_pipeline`.
    """
    _refuse_pickle(path)
    return file_parts(path, None) if path.is_file() else folder_parts(path, None)


def _refuse_pickle(path: Path) -> None:
    if path.suffix in PICKLES and path.is_file():
        raise refused_pickle(path)


def outline(path: Path) -> Outline:
    """What the pipeline in a folder or a file is; no weight is read.

    Raises:
        InputError: it is damaged, or of a kind that is not supported.
    """
    _refuse_pickle(path)
    return outline_file(path) if path.is_file() else outline_folder(path)
