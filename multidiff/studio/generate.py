"""The page that generates: a tab for each model."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from multidiff.errors import InputError
from multidiff.sampling.plan import Plan
from multidiff.studio.comparing import SideBySide, Strip
from multidiff.studio.controls import Controls, new_seed
from multidiff.studio.editing import Editing
from multidiff.studio.engine import QUEUE, Studio
from multidiff.studio.history import Result
from multidiff.studio.notices import bar, done, failed, reported, said, warn
from multidiff.studio.request import Request
from multidiff.studio.results import ResultView
from multidiff.studio.settings import Settings


class Panel:
    """The controls and the results of one model, made in the present place of the page.

    Args:
        studio: that generates.
        name: of the model.
    """

    def __init__(self, studio: Studio, name: str):
        self.studio, self.name = studio, name
        self.pipeline = studio.models[name]
        self.controls = Controls(self.pipeline, studio.limits, studio.models.samplers)
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=320):
                self.controls.conditions()
                with gr.Row():
                    start = gr.Button("Generate", variant="primary", min_width=120)
                    stop = gr.Button("Stop", min_width=80)
                self.controls.seed()
                with gr.Accordion("Sampling settings", open=False):
                    self.controls.sampling()
            with gr.Column(scale=3, min_width=320):
                self.status = gr.HTML('<p class="progress">Nothing yet: press Generate.</p>')
                self.live = gr.Image(
                    label="Current estimate",
                    alt_text="Estimates of the samples",
                    interactive=False,
                    visible=False,
                    buttons=[],
                    height=280,
                    elem_classes="live",
                )
                self.view = ResultView(studio, self.pipeline.modality)
                self.outputs = [self.status, self.live, self.controls.parts["seed"], *self.view.outputs]
                self._more()
        triggers = [start.click, *(part.submit for part in self.controls.inputs if isinstance(part, gr.Textbox))]
        gr.on(
            triggers,
            self.run,
            self.controls.inputs,
            self.outputs,
            api_visibility="private",
            show_progress="hidden",
            **QUEUE,
        )
        stop.click(self._stop, None, None, api_visibility="private", queue=False)
        self.view.restore.click(self._restored, self.view.shown, self.restored, api_visibility="private", queue=False)

    def _more(self) -> None:
        """Make the other ways to generate."""
        self.editing, self.strip = Editing(self), Strip(self)
        SideBySide(self)

    def asked(self, values: Sequence[Any]) -> Request:
        """What the controls say, with a new seed unless it is to be kept.

        Raises:
            InputError: a number is missing.
        """
        request = self.controls.request(values)
        locked = values[list(self.controls.parts).index("lock")]
        return request if locked else replace(request, seed=new_seed())

    def updates(
        self, prepare: Callable[[], Plan], seed: int, session: str, files: Sequence[Path] = ()
    ) -> Iterator[list[Any]]:
        """Carry out a plan, and yield what the outputs are to show: the place in the line, the progress, the result.

        Args:
            prepare: makes the plan, when it is its turn.
            seed: that the control is to show.
            session: of the visitor.
            files: that an edit starts from, which are kept with the result.

        Raises:
            InputError: it was stopped, or cannot be done; the outputs say so.
        """
        try:
            with self.studio.line.place(session) as place:
                for waiting in place.turn():
                    yield [bar(waiting), gr.skip(), seed, *self.view.unchanged()]
                started, plan = time.monotonic(), prepare()
                for event in self.studio.generate(place, self.name, plan, files):
                    if isinstance(event, Result):
                        line = done(time.monotonic() - started, len(plan))
                        yield [line, gr.update(value=None, visible=False), seed, *self.view.values(event)]
                    else:
                        live = gr.skip() if event.picture is None else gr.update(value=event.picture, visible=True)
                        yield [bar(event), live, seed, *self.view.unchanged()]
        except InputError as error:
            yield [failed(error), gr.update(value=None, visible=False), seed, *self.view.unchanged()]
            raise

    @property
    def run(self) -> Any:
        """The event that generates."""

        def generate(request: gr.Request, *values: Any) -> Iterator[list[Any]]:
            asked = self.asked(values)
            yield from self.updates(lambda: self.studio.plan(self.name, asked), asked.seed, str(request.session_hash))

        return reported(generate)

    def _stop(self, request: gr.Request) -> None:
        if not self.studio.line.stop(str(request.session_hash)):
            gr.Info("Nothing is running or waiting.")

    @property
    def restored(self) -> list[gr.blocks.Block]:
        """The components that `filled` fills."""
        return [self.status, *self.controls.inputs, *self.editing.restored, *self.strip.restored]

    def filled(self, settings: Settings) -> list[Any]:
        """Updates by which the controls say how a result was made, and the status what is left to do."""
        if not settings.is_complete:
            warn("Some settings cannot be restored", settings.remark)
        own = self.controls.filled(settings.request)
        return [said(settings.remark), *own, *self.editing.filled(settings), *self.strip.filled(settings)]

    @property
    def _restored(self) -> Any:
        def restore(shown: str) -> list[Any]:
            return self.filled(self.studio.settings_of(self.studio.history[shown]))

        return reported(restore)
