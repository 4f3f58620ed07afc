"""The part of a page that starts from a file: vary it, regenerate a part of it, or continue it."""

import math
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from multidiff.errors import InputError
from multidiff.sampling.editing import Edit, edit_of
from multidiff.studio.engine import QUEUE
from multidiff.studio.notices import reported
from multidiff.studio.settings import Settings
from multidiff.studio.sources import SOURCES

if TYPE_CHECKING:
    from multidiff.studio.generate import Panel

WAYS = {"Vary it": "strength", "Regenerate a part of it": "mask", "Continue it": "extend"}
"""What may be done with a file, and the option of `multidiff sample` that does it."""


class Editing:
    """The controls of an edit, made in the present place of the page.

    Args:
        panel: whose settings it takes, and whose outputs it fills.

    Attributes:
        restored: the components that `filled` fills.
    """

    def __init__(self, panel: "Panel"):
        self.panel, self.pipeline = panel, panel.pipeline
        self.source = SOURCES[self.pipeline.modality.viewer]
        with gr.Accordion("Start from a file", open=False) as accordion:
            given = self.source.component()
            way = gr.Radio(list(WAYS), value="Vary it", label="What to do with it", info=self.source.hint)
            strength = gr.Slider(
                0.05, 1, 0.5, step=0.05, label="Strength", info="For Vary it: how much of the file changes."
            )
            region = gr.Textbox(
                label="Part", info=self.source.region_help, visible=self.source.region_help is not None, max_length=100
            )
            amount = gr.Number(None, label="Length to add", info="For Continue it: seconds of a sound, else positions.")
            start = gr.Button("Generate from the file")
        self.inputs = [given, way, strength, region, amount]
        self.restored = [accordion, *self.inputs]
        start.click(
            self.run,
            [*self.inputs, *panel.controls.inputs],
            panel.outputs,
            api_visibility="private",
            show_progress="hidden",
            **QUEUE,
        )

    @property
    def run(self) -> Any:
        """The event that generates from a file."""

        def generate(request: gr.Request, *values: Any) -> Iterator[list[Any]]:
            own, common = values[: len(self.inputs)], values[len(self.inputs) :]
            asked = self.panel.asked(common)
            size = asked.data_shape(self.pipeline, self.panel.studio.limits)
            with tempfile.TemporaryDirectory() as folder:
                edit = self.edit(Path(folder), size, *own)
                files = sorted(Path(folder).iterdir())
                yield from self.panel.updates(
                    lambda: self.panel.studio.plan(self.panel.name, asked, edit=edit),
                    asked.seed,
                    str(request.session_hash),
                    files,
                )

        return reported(generate)

    def filled(self, settings: Settings) -> list[Any]:
        """Updates by which the controls describe the edit of a result; without one, they stay as they are."""
        edit = settings.edit
        if edit is None:
            return [gr.skip()] * len(self.restored)
        files, option, value = settings.files, edit["option"], edit["value"]
        given = self.source.filled(files["init"], files.get("mask")) if files else None
        way = next(way for way, name in WAYS.items() if name == option)
        values = {"strength": gr.skip(), "mask": gr.skip(), "extend": gr.skip()}
        if "mask" not in edit:
            values[option] = gr.update(value=value)
        return [gr.update(open=True), gr.update(value=given), gr.update(value=way), *values.values()]

    def edit(
        self,
        folder: Path,
        size: tuple[int, ...],
        given: Any,
        way: str,
        strength: float,
        region: str,
        amount: float | None,
    ) -> Edit:
        """The edit that the controls describe, of samples of ``size``; its files are written to ``folder``.

        Raises:
            InputError: a file or a value is missing or cannot be used.
        """
        modality = self.pipeline.modality
        init = self.source.init(given, size, folder)
        option = WAYS[way]
        if option == "mask":
            place = self.source.region(given, region or "", size, folder)
            edit = edit_of(modality, init, option, place)
            return replace(edit, source={**edit.source, "value": Path(place).name})  # no path of this machine
        if option == "strength":
            return edit_of(modality, init, option, float(strength))
        if amount is None:
            raise InputError("give the length to add")
        data, length = modality.extension(modality.read(init), amount)
        self.panel.studio.limits.check_size(math.prod(data.shape[:-1]) * length)
        return edit_of(modality, init, option, amount)
