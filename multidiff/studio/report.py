"""The page that shows evaluation reports."""

import html
from collections.abc import Sequence
from pathlib import Path

import gradio as gr

from multidiff.data.captions import read_text
from multidiff.errors import InputError
from multidiff.studio.notices import reported


class Reports:
    """Reports of `multidiff evaluate --report`, made in the present place of the page.

    Args:
        files: the reports; visitors choose among them.
    """

    def __init__(self, files: Sequence[Path]):
        self.files = {f"{file.parent.name}/{file.name}": file for file in files}
        names = list(self.files)
        chosen = gr.Dropdown(names, value=names[0], label="Report")
        shown = gr.HTML(self.show(names[0]))
        chosen.change(reported(self.show), chosen, shown, api_visibility="private", queue=False)

    def show(self, name: str) -> str:
        """The report in a frame of its own, without scripts."""
        if name not in self.files:
            raise InputError(f"no report is called {name!r} here")
        page = html.escape(read_text(self.files[name]), quote=True)
        return f'<iframe class="report" title="Evaluation report" sandbox="" srcdoc="{page}"></iframe>'
