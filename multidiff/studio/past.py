"""The page of the history: search, look, listen, download, and go back to the settings of a result."""

import html
import time
from collections.abc import Mapping
from typing import Any

import gradio as gr

from multidiff.errors import InputError
from multidiff.modality import Modality
from multidiff.studio.engine import Studio
from multidiff.studio.generate import Panel
from multidiff.studio.history import Result
from multidiff.studio.notices import reported, said
from multidiff.studio.results import ResultView
from multidiff.studio.settings import Settings

MORE = 60
"""Results that are shown at first, and that each "More" adds."""


class Past:
    """The search, and the result that is chosen from it.

    Args:
        studio: whose history is shown.
        panels: by the name of their model; they take settings back.
        tabs: of the page, among which the panels are.
        models: the tabs of the panels.

    Attributes:
        words: what is searched for.
        most: number of results that are shown, at most.
        results: the components that `search` fills.
    """

    def __init__(self, studio: Studio, panels: Mapping[str, Panel], tabs: gr.Tabs, models: gr.Tabs):
        self.studio, self.panels = studio, panels
        found, chosen, self.most = gr.State([]), gr.State(""), gr.State(MORE)
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=320):
                self.words = gr.Textbox(
                    label="Search", placeholder="words of the prompt, a label, a model, seed 7", max_length=200
                )
                pictures = gr.Gallery(
                    label="Results, the newest first",
                    show_label=False,
                    elem_classes="samples",
                    columns=4,
                    object_fit="contain",
                    interactive=False,
                    allow_preview=False,
                    buttons=[],
                )
                more = gr.Button("More", visible=False)
            with gr.Column(scale=2, min_width=320):
                title = gr.HTML(said("Choose a result."))
                with gr.Row():
                    restore = gr.Button("Use these settings", variant="primary", min_width=140)
                    remove = gr.Button("Delete", min_width=80)
                self.views = {name: self._view(modality) for name, modality in studio.modalities().items()}
        self.results = [found, pictures, more]
        detail = [chosen, title, *(part for column, view in self.views.values() for part in (column, *view.outputs))]
        self.words.change(
            lambda words: [MORE, *self.search(words)],
            self.words,
            [self.most, *self.results],
            api_visibility="private",
            show_progress="hidden",
        )
        more.click(
            lambda words, most: [most + MORE, *self.search(words, most + MORE)],
            [self.words, self.most],
            [self.most, *self.results],
            api_visibility="private",
            show_progress="hidden",
        )
        pictures.select(reported(self._select), found, detail, api_visibility="private", show_progress="hidden")
        back = [tabs, models, *(part for panel in panels.values() for part in panel.restored)]
        for button in (restore, *(view.restore for _, view in self.views.values())):
            button.click(reported(self._restore), chosen, back, api_visibility="private", queue=False)
        remove.click(
            reported(self._remove),
            [chosen, self.words, self.most],
            [*self.results, *detail],
            api_visibility="private",
        )

    def _view(self, modality: Modality[Any]) -> tuple[gr.Column, ResultView]:
        """A view of results of a modality, which is hidden until one is chosen."""
        with gr.Column(visible=False) as column:
            return column, ResultView(self.studio, modality)

    def search(self, words: str | None, most: int = MORE) -> list[Any]:
        """What `results` are to show: the ids and the pictures of the results that have the words, and "More"."""
        found = self.studio.history.search(words or "", most + 1)
        shown = found[:most]
        pictures = [(str(result.preview), result.words) for result in shown]
        return [[result.id for result in shown], pictures, gr.update(visible=len(found) > most)]

    def _select(self, found: list[str], event: gr.SelectData) -> list[Any]:
        result = self.studio.history[found[event.index]]
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(result.made))
        title = f'<p class="progress"><b>{html.escape(result.words)}</b><br>{made}</p>'
        try:
            name = self.studio.modality_of(result).name
        except InputError as error:
            name, title = "", title + said(f"No view: {error}")
        return [result.id, title, *self._shown(name, result)]

    def _shown(self, name: str, result: Result | None) -> list[Any]:
        """Updates by which the view of one modality shows a result, and the others are hidden."""
        return [
            update
            for key, (_, view) in self.views.items()
            for update in (
                gr.update(visible=key == name),
                *(view.values(result) if result and key == name else view.unchanged()),
            )
        ]

    def _restore(self, chosen: str) -> list[Any]:
        return restored(self.panels, self.studio.settings_of(self.studio.history[chosen]))

    def _remove(self, chosen: str, words: str, most: int) -> list[Any]:
        self.studio.history.remove(chosen)
        return [*self.search(words, most), "", said("Deleted."), *self._shown("", None)]


def restored(panels: Mapping[str, Panel], settings: Settings) -> list[Any]:
    """Updates of the tabs, of the tabs of the models, and of what all panels restore: one takes ``settings``."""
    filled = [
        update
        for name, panel in panels.items()
        for update in (panel.filled(settings) if name == settings.model else [gr.skip()] * len(panel.restored))
    ]
    return [gr.Tabs(selected="generate"), gr.Tabs(selected=settings.model), *filled]
