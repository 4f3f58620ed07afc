"""The page of the history: search, look, and go back to the settings of a result."""

import html
import time
from collections.abc import Mapping
from typing import Any

import gradio as gr

from multidiff.studio.engine import Studio
from multidiff.studio.generate import Panel
from multidiff.studio.history import Result
from multidiff.studio.notices import reported
from multidiff.studio.settings import Settings


class Past:
    """The search, and the result that is chosen from it.

    Args:
        studio: whose history is shown.
        panels: by the name of their model; they take settings back.
        tabs: of the page, among which the panels are.
        models: the tabs of the panels.
    """

    def __init__(self, studio: Studio, panels: Mapping[str, Panel], tabs: gr.Tabs, models: gr.Tabs):
        self.studio, self.panels = studio, panels
        self.found, self.chosen = gr.State([]), gr.State("")
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=320):
                self.words = gr.Textbox(
                    label="Search", placeholder="words of the prompt, a label, a model, seed 7", max_length=200
                )
                self.gallery = gr.Gallery(
                    label="Results, the newest first",
                    show_label=False,
                    elem_classes="samples",
                    columns=4,
                    object_fit="contain",
                    interactive=False,
                    allow_preview=False,
                    buttons=[],
                )
            with gr.Column(scale=2, min_width=320):
                self.title = gr.HTML('<p class="progress">Choose a result.</p>')
                self.picture = gr.Image(
                    label="Result", alt_text="The samples", interactive=False, buttons=["fullscreen"], height=320
                )
                with gr.Row():
                    restore = gr.Button("Use these settings", variant="primary", min_width=140)
                    remove = gr.Button("Delete", min_width=80)
                self.files = gr.File(label="Files", file_count="multiple", interactive=False)
                with gr.Accordion("Plan", open=False):
                    self.plan = gr.JSON(label="To generate it again", max_height=400, elem_classes="plan")
        detail = [self.chosen, self.title, self.picture, self.files, self.plan]
        self.words.change(
            self.search, self.words, [self.found, self.gallery], api_visibility="private", show_progress="hidden"
        )
        self.gallery.select(self._select, self.found, detail, api_visibility="private", show_progress="hidden")
        back = [tabs, models, *(part for panel in panels.values() for part in panel.restored)]
        restore.click(reported(self._restore), self.chosen, back, api_visibility="private", queue=False)
        remove.click(
            reported(self._remove),
            [self.chosen, self.words],
            [self.found, self.gallery, *detail],
            api_visibility="private",
        )

    def search(self, words: str | None) -> tuple[list[str], list[tuple[str, str]]]:
        """The ids and the pictures of the results that have the words."""
        results = self.studio.history.search(words or "")
        return [result.id for result in results], [(str(result.preview), result.words) for result in results]

    def _select(self, found: list[str], event: gr.SelectData) -> list[Any]:
        return self._detail(self.studio.history[found[event.index]])

    def _detail(self, result: Result) -> list[Any]:
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(result.made))
        title = f'<p class="progress"><b>{html.escape(result.words)}</b><br>{made}</p>'
        return [result.id, title, str(result.preview), [str(path) for path in result.files], dict(result.record)]

    def _restore(self, chosen: str) -> list[Any]:
        return restored(self.panels, self.studio.settings_of(self.studio.history[chosen]))

    def _remove(self, chosen: str, words: str) -> list[Any]:
        self.studio.history.remove(chosen)
        nothing = ["", '<p class="progress">Deleted.</p>', None, None, None]
        return [*self.search(words), *nothing]


def restored(panels: Mapping[str, Panel], settings: Settings) -> list[Any]:
    """Updates of the tabs, of the tabs of the models, and of what all panels restore: one takes ``settings``."""
    filled = [
        update
        for name, panel in panels.items()
        for update in (panel.filled(settings) if name == settings.model else [gr.skip()] * len(panel.restored))
    ]
    return [gr.Tabs(selected="generate"), gr.Tabs(selected=settings.model), *filled]
