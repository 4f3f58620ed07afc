"""The part of a page that shows a result: gallery, viewer, files to download, and plan."""

import json
from collections.abc import Iterator
from typing import Any

import gradio as gr

from multidiff.modality import Modality
from multidiff.sampling.reproduce import reproduce_samples
from multidiff.studio.artifacts import exported
from multidiff.studio.engine import QUEUE, Studio
from multidiff.studio.history import Result
from multidiff.studio.notices import bar, reported
from multidiff.studio.samples import SampleView

CHOICE_HELP = {"size": "along the longest side, in metres; empty keeps the scale of the model"}
"""Explanations of export settings without fixed values."""


class ResultView:
    """Shows a result of one modality, made in the present place of the page.

    Args:
        studio: whose history holds it.
        modality: of the artifacts, in any settings.

    Attributes:
        shown: holds the id of the result, for each visitor.
        outputs: the components that `values` fills.
        restore: the button "use these settings".
    """

    def __init__(self, studio: Studio, modality: Modality[Any]):
        self.studio, self.modality = studio, modality
        self.samples = SampleView(studio, modality)
        self.shown = self.samples.shown
        with gr.Accordion("Download", open=False):
            self._downloads()
        with gr.Accordion("Plan", open=False):
            self.plan = gr.Code(
                language="json",
                label="Settings to reproduce this result",
                interactive=False,
                max_lines=16,
                elem_classes="plan",
            )
            with gr.Row():
                self.restore = gr.Button("Use these settings", size="sm")
                again = gr.Button("Reproduce and compare", size="sm")
            verdict = gr.Markdown()
        again.click(self._reproduced, self.shown, verdict, api_visibility="private", show_progress="minimal", **QUEUE)
        self.outputs = [*self.samples.outputs, self.plan, self.files, self.converted, verdict]

    def values(self, result: Result) -> list[Any]:
        """What `outputs` are to show of a result."""
        files = [str(path) for path in result.files]
        plan = json.dumps(result.record, indent=2, ensure_ascii=False)
        return [*self.samples.values(result), plan, files, None, ""]

    def unchanged(self) -> list[Any]:
        """What leaves `outputs` as they are."""
        return [gr.skip()] * len(self.outputs)

    def _downloads(self) -> None:
        """Make the files as they were written, and the conversion of the selected one."""
        formats = [suffix.removeprefix(".") for suffix in self.modality.exported]
        self.files = gr.File(label="Files, with their settings as metadata", file_count="multiple", interactive=False)
        with gr.Row():
            suffix = gr.Dropdown(formats, value=formats[0], label="Format", min_width=90)
            choices = [
                gr.Dropdown(list(values), value=values[0], label=name.capitalize(), min_width=90)
                if values
                else gr.Number(None, label=name.capitalize(), info=CHOICE_HELP.get(name), minimum=0, min_width=90)
                for name, values in self.modality.export_choices.items()
            ]
        convert = gr.Button("Convert the selected sample", size="sm")
        self.converted = gr.File(label="Converted", interactive=False)
        convert.click(
            reported(self._convert),
            [self.shown, self.samples.index, suffix, *choices],
            self.converted,
            api_visibility="private",
        )

    def _convert(self, shown: str, index: int, suffix: str, *choices: Any) -> str:
        named = dict(zip(self.modality.export_choices, choices, strict=True))
        settings = {name: value for name, value in named.items() if value not in (None, "")}
        result = self.studio.history[shown]
        return str(exported(self.studio.modality_of(result), result, index, f".{suffix}", settings))

    @property
    def _reproduced(self) -> Any:
        def reproduce(request: gr.Request, shown: str) -> Iterator[str]:
            result = self.studio.history[shown]
            directory = self.studio.models.places[self.studio.models.of(result.record)]
            with self.studio.line.place(str(request.session_hash)) as place:
                for waiting in place.turn():
                    yield bar(waiting)
                yield "Generating it again."
                compared = reproduce_samples(result.folder, model=directory)
            if compared.equal:
                yield f"Generated again: equal, byte for byte ({compared.compared} compared)."
            else:
                yield f"Generated again: {len(compared.differences)} of {compared.compared} differ."

        return reported(reproduce)
