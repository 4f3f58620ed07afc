"""The page and its server."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from multidiff.studio.api import add_api
from multidiff.studio.engine import Studio
from multidiff.studio.generate import Panel
from multidiff.studio.notices import reported
from multidiff.studio.past import Past, restored
from multidiff.studio.report import Reports
from multidiff.studio.training import Training

STYLE = """
.progress { display: block; margin: 0; font-size: 14px }
.progress progress { display: block; width: 100%; height: 10px; margin-top: 4px; accent-color: var(--primary-600) }
.samples .grid-wrap { min-height: 0 !important; max-height: 70vh }
@media (max-width: 640px) {
  .samples .grid-container { grid-template-columns: repeat(2, minmax(0, 1fr)) !important }
}
.wrap:has(> .wrap-inner) { border-color: var(--input-border-color) !important }
button[role=tab].selected { color: var(--primary-700) !important }
.dark button[role=tab].selected, .dark .download-link { color: var(--primary-300) !important }
.samples .caption-label { opacity: 1 !important }
.component-wrapper time, .playback { color: var(--body-text-color) !important }
.plan :is(.cm-content span, .key, .value, .punctuation) { color: var(--body-text-color) !important }
.report { width: 100%; height: 80vh; border: 0; background: white }
footer { display: none !important }
"""

OTHERS = 40
"""Threads beside those of requests that wait."""

KEPT = 24 * 3600
"""Seconds that gradio keeps uploads and copies of results."""


@dataclass(frozen=True)
class Address:
    """Where a studio listens, and whom it lets in.

    Attributes:
        host: the address of this machine; the loopback one reaches this machine alone.
        port: the port; None for a free one.
        auth: a name and a password, or None for everybody.
    """

    host: str = "127.0.0.1"
    port: int | None = 7860
    auth: tuple[str, str] | None = None

    @property
    def is_private(self) -> bool:
        """Whether only this machine, or those with the password, reach it."""
        return self.auth is not None or self.host in ("127.0.0.1", "localhost", "::1")


def page(studio: Studio, *, control: bool = True) -> gr.Blocks:
    """The page, with its API; ``control``: whether visitors may stop and resume training runs."""
    blocks = gr.Blocks(title="MultiDiff studio", analytics_enabled=False, delete_cache=(KEPT, KEPT))
    with blocks:
        add_api(studio)  # first: gradio numbers names that the private events of the page take too
        gr.HTML("<h1>MultiDiff studio</h1>")
        with gr.Tabs(selected="generate") as tabs:
            with gr.Tab("Generate", id="generate"):
                panels = {}
                with gr.Tabs() as models:
                    for name in studio.models.pipelines:
                        with gr.Tab(name, id=name):
                            panels[name] = Panel(studio, name)
                dropped = gr.File(label="Load settings from a generated file", type="filepath", height=150)
            with gr.Tab("History", id="history") as history:
                past = Past(studio, panels, tabs, models)
            if studio.runs:
                with gr.Tab("Training", id="training"):
                    training = Training(studio.runs, control=control)
                blocks.load(training.look, training.chosen, training.outputs, api_visibility="private", queue=False)
            if studio.reports:
                with gr.Tab("Reports", id="reports"):
                    Reports(studio.reports)
        gr.on(
            [history.select, blocks.load],
            past.search,
            [past.words, past.most],
            past.results,
            api_visibility="private",
            show_progress="hidden",
        )
        everything = [part for panel in panels.values() for part in panel.restored]

        def restore(path: str) -> list[Any]:
            return restored(panels, studio.settings_in(Path(path)))

        dropped.upload(reported(restore), dropped, [tabs, models, *everything], api_visibility="private", queue=False)

        def leave(request: gr.Request) -> None:
            studio.line.stop(str(request.session_hash))

        blocks.unload(leave)
    blocks.queue(max_size=studio.limits.waiting, api_open=True)
    return blocks


def serve(studio: Studio, address: Address, *, block: bool = True) -> tuple[gr.Blocks, str]:
    """Serve the page, until the process is interrupted if ``block``; the page and its address."""
    logging.getLogger("httpx").setLevel(logging.WARNING)
    blocks = page(studio, control=address.is_private)
    _, url, _ = blocks.launch(
        server_name=address.host,
        server_port=address.port,
        auth=address.auth,
        theme=theme(),
        css=STYLE,
        allowed_paths=[str(studio.history.results), *(str(run / "previews") for run in studio.runs)],
        max_threads=studio.limits.waiting + OTHERS,
        max_file_size=studio.limits.upload * 2**20,
        footer_links=[],
        share=False,
        ssr_mode=False,
        quiet=True,
        prevent_thread_lock=True,
    )
    if block:
        print(f"the studio is at {url}; stop it with Ctrl-C", flush=True)
        try:
            blocks.block_thread()
        finally:
            studio.line.stop(reason="the studio ended")
    return blocks, url


def theme() -> gr.themes.Base:
    """Fonts of the system: nothing is loaded from elsewhere. Contrasts are at least 4.5 for text, and 3 for edges."""
    fonts, mono = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]
    return gr.themes.Soft(primary_hue="indigo", font=fonts, font_mono=mono).set(
        block_label_text_color="*primary_800",
        block_title_text_color="*primary_800",
        body_text_color_subdued="*neutral_600",
        block_info_text_color="*neutral_600",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_300",
        input_border_width="1px",
        input_border_width_dark="1px",
        input_border_color="*neutral_500",
        input_border_color_dark="*neutral_500",
        checkbox_label_background_fill_selected="*primary_600",
        checkbox_border_color="*neutral_500",
        checkbox_border_color_dark="*neutral_400",
        button_border_width="1px",
        button_secondary_border_color="*neutral_500",
        button_secondary_border_color_dark="*neutral_500",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_700",
    )
