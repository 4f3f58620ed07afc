"""The samples of a result on a page: a gallery, and a viewer of the chosen one."""

from pathlib import Path
from typing import Any

import gradio as gr

from multidiff.errors import InputError
from multidiff.modality import Modality
from multidiff.studio.artifacts import gallery, viewer_of
from multidiff.studio.engine import Studio
from multidiff.studio.history import Result
from multidiff.studio.notices import reported, warn


class SampleView:
    """Shows the samples of a result, made in the present place of the page.

    Args:
        studio: whose history holds it.
        modality: of the artifacts, in any settings.
        label: of the gallery; hidden by default.
        columns: of the gallery.

    Attributes:
        shown: holds the id of the result, for each visitor.
        index: holds the number of the chosen sample, likewise.
        outputs: the components that `values` fills.
    """

    def __init__(self, studio: Studio, modality: Modality[Any], label: str | None = None, columns: int = 4):
        self.studio, self.modality, self.viewer = studio, modality, viewer_of(modality)
        self.shown, self.index = gr.State(""), gr.State(0)
        self.component = self.viewer.component()
        self.gallery = gr.Gallery(
            label=label or "Samples",
            show_label=label is not None,
            columns=columns,
            object_fit="contain",
            interactive=False,
            allow_preview=self.component is None,
            buttons=["download", "fullscreen"],
            elem_classes="samples",
        )
        viewed = [] if self.component is None else [self.component]
        self.gallery.select(self._selected, self.shown, [self.index, *viewed], api_visibility="private", queue=False)
        if viewed:  # after the result, which need not wait for it
            self.shown.change(
                reported(self.first), self.shown, viewed, api_visibility="private", show_progress="hidden", queue=False
            )
        self.outputs = [self.shown, self.index, self.gallery]

    def values(self, result: Result) -> list[Any]:
        """What `outputs` are to show of a result."""
        return [result.id, 0, gallery(self.studio.modality_of(result), result)]

    def unchanged(self) -> list[Any]:
        """What leaves `outputs` as they are."""
        return [gr.skip()] * len(self.outputs)

    def first(self, shown: str) -> str | None:
        """What the viewer shows of the first sample of a result."""
        return self.viewed(self.studio.history[shown].files[0])

    def viewed(self, original: Path) -> str | None:
        """The file for the viewer; none, and a warning on the page, where it cannot show the sample."""
        try:
            return str(self.viewer.file(self.modality, original))
        except InputError as error:  # such as points without a surface, which can still be downloaded
            warn("No view of this sample", error)
            return None

    @property
    def _selected(self) -> Any:
        def select(shown: str, event: gr.SelectData) -> Any:
            original = self.studio.history[shown].files[event.index]
            return event.index if self.component is None else [event.index, self.viewed(original)]

        return reported(select)
