"""How an artifact is shown: a thumbnail in a gallery, and a viewer of the chosen one, which its modality names."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import gradio as gr

from multidiff.data.files import new_file
from multidiff.errors import InputError
from multidiff.modality import Modality
from multidiff.studio.history import Result

VIEWS = "views"
"""Folder below a result for what is shown of it."""

EXPORTS = "exports"
"""Folder below a result for files in other formats."""


class Viewer(ABC):
    """Shows the artifacts of a modality."""

    @abstractmethod
    def component(self) -> gr.components.Component | None:
        """For the chosen artifact; None where the gallery itself shows it well."""

    def thumbnail(self, modality: Modality[Any], original: Path) -> Path:
        """The picture of an artifact in a gallery; by default the preview of its modality."""
        path = _beside(original, VIEWS, ".png")
        if not path.is_file():
            with new_file(path) as part:
                modality.preview([modality.read(original)]).save(part)
        return path

    def file(self, modality: Modality[Any], original: Path) -> Path:
        """What `component` shows of an artifact; by default its own file."""
        return original


class Picture(Viewer):
    """Images: the gallery shows and enlarges them."""

    def component(self) -> None:
        return None

    def thumbnail(self, modality: Modality[Any], original: Path) -> Path:
        return original


class Player(Viewer):
    """Sounds: a player with the waveform; the thumbnail has the spectrogram."""

    def component(self) -> gr.Audio:
        return gr.Audio(label="Selected sound", type="filepath", interactive=False, buttons=["download"])


class Solid(Viewer):
    """Shapes: a 3D view of the reconstructed mesh, in GLB."""

    resolution: ClassVar[int] = 64
    """Voxels along a side: fast, and enough for a screen."""

    behind: ClassVar = (0.33, 0.36, 0.42, 1.0)
    """The background, dark in every theme: meshes without colours are shown white."""

    def component(self) -> gr.Model3D:
        return gr.Model3D(label="Selected shape", height=360, interactive=False, clear_color=self.behind)

    def file(self, modality: Modality[Any], original: Path) -> Path:
        path = _beside(original, VIEWS, ".glb")
        if not path.is_file():
            path.parent.mkdir(exist_ok=True)
            modality.exporter(".glb", {"resolution": self.resolution})(modality.read(original), path, {})
        return path


VIEWERS: Mapping[str, Viewer] = {"picture": Picture(), "player": Player(), "solid": Solid()}
"""Viewers by the name that `Modality.viewer` has."""


def viewer_of(modality: Modality[Any]) -> Viewer:
    """The viewer that a modality names.

    Raises:
        InputError: there is none of that name.
    """
    if modality.viewer not in VIEWERS:
        raise InputError(f"the modality {modality.name} names the viewer {modality.viewer!r}: {', '.join(VIEWERS)}")
    return VIEWERS[modality.viewer]


def gallery(modality: Modality[Any], result: Result) -> list[tuple[str, str]]:
    """The thumbnails of a result with their numbers, as `gr.Gallery` takes them."""
    viewer = viewer_of(modality)
    return [(str(viewer.thumbnail(modality, path)), f"{i}") for i, path in enumerate(result.files)]


def exported(modality: Modality[Any], result: Result, index: int, suffix: str, settings: Mapping[str, Any]) -> Path:
    """A sample of a result in another format, with its plan inside where the format has a place for it.

    Raises:
        InputError: the format or a setting cannot be used.
    """
    original = result.files[index]
    if (
        suffix == original.suffix
        and suffix in modality.written
        and not settings
        and modality.written == modality.exported
    ):
        return original
    path = _beside(original, EXPORTS, suffix)
    path.parent.mkdir(exist_ok=True)
    modality.exporter(suffix, settings)(modality.read(original), path, {**result.record, "index": index})
    return path


def _beside(original: Path, folder: str, suffix: str) -> Path:
    return original.parent / folder / f"{original.stem}{suffix}"
