"""The parts of a page that compare: the same noise under two settings, and the way from one seed to another."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import gradio as gr

from multidiff.errors import InputError
from multidiff.sampling.seeds import Interpolated
from multidiff.studio.controls import ANY
from multidiff.studio.engine import QUEUE
from multidiff.studio.history import Result
from multidiff.studio.notices import bar, done, failed, reported
from multidiff.studio.request import EXACT, Request
from multidiff.studio.samples import SampleView
from multidiff.studio.settings import Settings

if TYPE_CHECKING:
    from multidiff.studio.generate import Panel

CHANGED = ("guidance", "steps", "sampler", "rule", "negative")
"""Settings that a comparison may change, beside the fields of the model."""


class Strip:
    """Samples on the way from the seed of the panel to another one, made in the present place of the page.

    Attributes:
        restored: the components that `filled` fills.
    """

    def __init__(self, panel: "Panel"):
        self.panel = panel
        most = panel.studio.limits.samples
        with gr.Accordion("Interpolate between two seeds", open=False) as accordion:
            second = gr.Number(1, precision=0, label="Second seed", minimum=-EXACT, maximum=EXACT)
            count = gr.Slider(2, max(2, most), min(8, most), step=1, label="Samples in between")
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
                lambda: self.panel.studio.plan(self.panel.name, asked, seeds=seeds),
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
    """The settings of the panel beside the same with one change, made in the present place of the page.

    Attributes:
        changed: the control that names the setting.
        sides: the views of the two results.
        outputs: the components that an event of `run` fills.
    """

    def __init__(self, panel: "Panel"):
        self.panel, self.parts = panel, panel.controls.parts
        names = [name for name in self.parts if name.startswith("field ") or name in CHANGED]
        choices = choices_of(self.parts[names[0]])
        with gr.Accordion("Side by side: the same seed, one setting changed", open=False):
            with gr.Row():
                labels = [(str(self.parts[name].label), name) for name in names]
                self.changed = gr.Dropdown(labels, value=names[0], label="Change", min_width=120)
                choice = gr.Dropdown(
                    choices, value=next(iter(choices), None), label="To", visible=bool(choices), min_width=120
                )
                text = gr.Textbox(label="To", visible=not choices, min_width=120, max_length=1000)
            start = gr.Button("Compare")
            status = gr.HTML()
            with gr.Row():
                self.sides = [self._side(label) for label in ("As set", "Changed")]
        self.changed.input(self._chosen, self.changed, [choice, text], api_visibility="private", queue=False)
        self.outputs = [status, *(part for side in self.sides for part in side.outputs)]
        inputs = [self.changed, choice, text, *panel.controls.inputs]
        start.click(self.run, inputs, self.outputs, api_visibility="private", show_progress="hidden", **QUEUE)

    def _side(self, label: str) -> SampleView:
        with gr.Column(min_width=200):
            return SampleView(self.panel.studio, self.panel.pipeline.modality, label, columns=2)

    def _chosen(self, changed: str) -> list[Any]:
        """The control of the new value: a choice where the control of the setting is one."""
        choices = choices_of(self.parts[changed])
        choice = gr.update(choices=choices, value=next(iter(choices), None), visible=bool(choices))
        return [choice, gr.update(value="", visible=not choices)]

    @property
    def run(self) -> Any:
        """The event that generates both."""

        def compare(
            request: gr.Request, changed: str, choice: str | None, text: str, *values: Any
        ) -> Iterator[list[Any]]:
            value = str(choice) if choices_of(self.parts[changed]) else text
            try:
                asked = self.panel.controls.request(values)
                both = [asked, with_change(asked, changed, value)]
                yield from self._updates(both, str(request.session_hash))
            except InputError as error:
                yield [failed(error), *(gr.skip() for _ in self.outputs[1:])]
                raise

        return reported(compare)

    def _updates(self, both: Sequence[Request], session: str) -> Iterator[list[Any]]:
        """Carry out both requests in one turn, and yield what the outputs are to show."""
        panel = self.panel
        unchanged = [side.unchanged() for side in self.sides]
        with panel.studio.line.place(session) as place:
            for waiting in place.turn():
                yield [bar(waiting), *chain(*unchanged)]
            started = time.monotonic()
            plans = [panel.studio.plan(panel.name, each) for each in both]
            for i, plan in enumerate(plans):
                for event in panel.studio.generate(place, panel.name, plan):
                    if isinstance(event, Result):
                        shown = [
                            side.values(event) if side is self.sides[i] else side.unchanged() for side in self.sides
                        ]
                        yield [gr.skip(), *chain(*shown)]
                    else:
                        yield [bar(event), *chain(*unchanged)]
            yield [done(time.monotonic() - started, sum(map(len, plans))), *chain(*unchanged)]


def choices_of(control: gr.components.Component) -> list[str]:
    """The values of a control that is a choice; none for others."""
    return [str(value) for _, value in control.choices] if isinstance(control, gr.Dropdown) else []


def with_change(request: Request, name: str, value: str) -> Request:
    """The request with another value of the control ``name``, a setting or ``field NAME``; `ANY` or nothing is none.

    Raises:
        InputError: the value is of another kind than the setting.
    """
    text = None if value == ANY else value.strip() or None
    if name.startswith("field "):
        field = name.removeprefix("field ")
        kept = {key: kept for key, kept in request.fields.items() if key != field}
        return replace(request, fields=kept if text is None else {**kept, field: text})
    kinds = {"guidance": float, "steps": int}
    try:
        changed: dict[str, Any] = {name: kinds[name](text or "") if name in kinds else text}
    except ValueError as error:
        raise InputError(f"{name} is a number, not {value!r}") from error
    return replace(request, **changed)
