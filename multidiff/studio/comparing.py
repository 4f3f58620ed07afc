"""The parts of a page that compare: the same noise under two settings, and the way from one seed to another."""

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import gradio as gr

from multidiff.errors import InputError
from multidiff.sampling.seeds import Interpolated
from multidiff.studio.artifacts import gallery
from multidiff.studio.engine import QUEUE
from multidiff.studio.jobs import Progress
from multidiff.studio.notices import bar, reported
from multidiff.studio.request import EXACT, Request
from multidiff.studio.settings import Settings

if TYPE_CHECKING:
    from multidiff.studio.generate import Panel

CHANGED = ("guidance", "steps", "sampler", "rule", "negative")
"""Settings of a request that a comparison may change, beside the fields of the model."""


class Strip:
    """Samples on the way from the seed of the panel to another one, made in the present place of the page.

    Attributes:
        restored: the components that `filled` fills.
    """

    def __init__(self, panel: "Panel"):
        self.panel = panel
        most = panel.studio.limits.samples
        with gr.Accordion("From one seed to another", open=False) as accordion:
            second = gr.Number(1, precision=0, label="To the seed", minimum=-EXACT, maximum=EXACT)
            count = gr.Slider(2, max(2, most), min(8, most), step=1, label="Samples on the way")
            start = gr.Button("Interpolate")
        self.restored = [accordion, second, count]
        inputs = [second, count, *panel.controls.inputs]
        start.click(self.run, inputs, panel.outputs, api_visibility="private", show_progress="hidden", **QUEUE)

    @property
    def run(self) -> Any:
        """The event that interpolates; the seed of the panel is kept."""

        def interpolate(request: gr.Request, second: int, count: int, *values: Any) -> Iterator[list[Any]]:
            asked = replace(self.panel.controls.request(values), n=int(count))
            seeds = Interpolated(asked.seed, int(second or 0), asked.n)
            yield from self.panel.updates(
                lambda: asked.plan(self.panel.pipeline, self.panel.studio.limits, seeds=seeds),
                asked.seed,
                str(request.session_hash),
            )

        return reported(interpolate)

    def filled(self, settings: Settings) -> list[Any]:
        """Updates by which the controls describe a strip; of other results, they stay as they are."""
        if settings.second is None:
            return [gr.skip()] * len(self.restored)
        return [gr.update(open=True), gr.update(value=settings.second), gr.update(value=settings.request.n)]


class SideBySide:
    """The settings of the panel beside the same with one change, made in the present place of the page."""

    def __init__(self, panel: "Panel"):
        self.panel = panel
        names = [*panel.pipeline.model.conditioner.reads, *CHANGED]
        with gr.Row():
            changed = gr.Dropdown(names, value=names[0], label="Change", min_width=120)
            value = gr.Textbox(label="To", min_width=120, max_length=1000)
        start = gr.Button("Compare")
        status = gr.HTML()
        with gr.Row():
            left = gr.Gallery(label="As set", columns=2, interactive=False, elem_classes="samples", min_width=200)
            right = gr.Gallery(label="Changed", columns=2, interactive=False, elem_classes="samples", min_width=200)
        inputs = [changed, value, *panel.controls.inputs]
        start.click(self.run, inputs, [status, left, right], api_visibility="private", show_progress="hidden", **QUEUE)

    @property
    def run(self) -> Any:
        """The event that generates both."""

        def compare(request: gr.Request, changed: str, value: str, *values: Any) -> Iterator[list[Any]]:
            panel = self.panel
            asked = panel.controls.request(values)
            both = [asked, with_change(asked, changed, value)]
            shown: list[Any] = [None, None]
            with panel.studio.line.place(str(request.session_hash)) as place:
                for waiting in place.turn():
                    yield [bar(waiting), gr.skip(), gr.skip()]
                plans = [each.plan(panel.pipeline, panel.studio.limits) for each in both]
                for i, plan in enumerate(plans):
                    for event in panel.studio.generate(place, panel.name, plan):
                        if isinstance(event, Progress):
                            yield [bar(event), gr.skip(), gr.skip()]
                        else:
                            shown[i] = gallery(panel.pipeline.modality, event)
                            yield ["", *shown]

        return reported(compare)


def with_change(request: Request, name: str, value: str) -> Request:
    """The request with one setting, or one field of the model, of another value.

    Raises:
        InputError: the value is of another kind than the setting.
    """
    text = value.strip()
    if name not in {each.name for each in fields(Request)}:
        return replace(request, fields={**request.fields, name: text})
    kinds = {"guidance": float, "steps": int}
    try:
        return replace(request, **{name: kinds.get(name, str)(text)})
    except ValueError as error:
        raise InputError(f"{name} is a number, not {text!r}") from error
