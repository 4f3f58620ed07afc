"""The page that follows training runs, and stops and resumes them."""

import html
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd

from multidiff.errors import InputError
from multidiff.evaluation.table import title
from multidiff.studio.notices import reported
from multidiff.studio.runs import SPEED, Run
from multidiff.studio.trainer import Trainer

EVERY = 5.0
"""Seconds between two looks at a run."""

DASHES = 50
"""How many of the dashes that stand for a single value fit beside each other."""


class Training:
    """Curves, speed and previews of a run, made in the present place of the page.

    Args:
        folders: of the runs; visitors choose among them.
        control: whether visitors may stop and resume them.
    """

    def __init__(self, folders: Sequence[Path], *, control: bool):
        self.folders = {folder.name: folder for folder in folders}
        self.trainers = {folder.name: Trainer(folder) for folder in folders}
        names = list(self.folders)
        self.chosen = gr.Dropdown(names, value=names[0], label="Run")
        self.status = gr.HTML()
        with gr.Row(visible=control):
            self.stop = gr.Button("Stop training", min_width=120, interactive=False)
            self.resume = gr.Button("Resume training", min_width=120, interactive=False)
        with gr.Row():
            self.losses = gr.LinePlot(
                x="step", y="loss", color="of", color_title="data", title="Loss", height=260, min_width=300
            )
            self.levels = gr.LinePlot(
                x="step",
                y="loss",
                color="of",
                color_title="log SNR",
                title="Held-out loss by noise level",
                height=260,
                min_width=300,
            )
            self.scores = gr.LinePlot(x="step", y="score", height=260, min_width=300, visible=False)
        self.preview = gr.Image(
            label="Preview", alt_text="Samples of this step", interactive=False, height=360, buttons=["fullscreen"]
        )
        self.film = gr.Slider(1, 2, 1, step=1, label="Preview number, from the first to the newest")
        with gr.Accordion("Newest values", open=False):
            self.values = gr.Dataframe(headers=["name", "value"], interactive=False, label="Newest values")
        self.outputs = [self.status, self.losses, self.levels, self.scores, self.preview, self.film, self.values]
        self.outputs += [self.stop, self.resume]
        timer = gr.Timer(EVERY)
        look = reported(self.look)
        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
        self.chosen.change(look, self.chosen, self.outputs, **quiet)
        timer.tick(look, self.chosen, self.outputs, **quiet)
        self.film.input(reported(self.frame), [self.chosen, self.film], self.preview, **quiet)
        if control:
            for button, act in ((self.stop, Trainer.stop), (self.resume, Trainer.resume)):
                button.click(reported(self._acting(act)), self.chosen, self.outputs, **quiet)

    def look(self, name: str) -> list[Any]:
        """What `outputs` are to show of a run now; the newest preview."""
        run = self._run(name)
        previews = run.previews
        film = gr.update(maximum=max(2, len(previews)), value=max(1, len(previews)))
        values = [[key, f"{value:.5g}"] for key, value in sorted(run.newest.items())]
        picture = str(previews[-1]) if previews else None
        trainer = self.trainers[name]
        runs = trainer.is_running
        buttons = [gr.update(interactive=runs), gr.update(interactive=not runs and not run.is_done)]
        line = status(run, trainer.state)
        curves = [frame(run, run.curve(by_noise=by_noise), "loss") for by_noise in (False, True)]
        return [line, *curves, scored(run), picture, film, values, *buttons]

    def frame(self, name: str, number: int) -> str:
        """The preview of this number."""
        previews = self._run(name).previews
        if not 1 <= number <= len(previews):
            raise InputError(f"there are {len(previews)} previews")
        return str(previews[int(number) - 1])

    def _acting(self, act: Callable[[Trainer], None]) -> Callable[[str], list[Any]]:
        """The event that stops or resumes a run."""

        def event(name: str) -> list[Any]:
            self._run(name)
            act(self.trainers[name])
            return self.look(name)

        return event

    def _run(self, name: str) -> Run:
        if name not in self.folders:
            raise InputError(f"no run is called {name!r} here")
        return Run.read(self.folders[name])


def frame(run: Run, curve: Sequence[tuple[float, str, float]], value: str) -> pd.DataFrame:
    """A curve of a run for a line plot, which shows no single point: such a value becomes a short dash."""
    values = Counter(of for _, of, _ in curve)
    dash = max(1.0, run.step / DASHES)
    dashes = [(step + dash, of, single) for step, of, single in curve if values[of] == 1]
    return pd.DataFrame([*curve, *dashes], columns=["step", "of", value])


def scored(run: Run) -> Any:
    """What the plot of scores is to show; nothing before the first evaluation."""
    if run.score is None or not run.scores:
        return gr.update(visible=False)
    return gr.update(value=frame(run, run.scores, "score"), title=title(run.score), visible=True)


def status(run: Run, state: str) -> str:
    """How far the run is and what its process does, as HTML."""
    parts = [html.escape(state), f"step {run.step}" + ("" if run.steps is None else f" of {run.steps}")]
    if SPEED in run.newest:
        parts.append(f"{run.newest[SPEED]:.4g} samples a second")
    if run.left:
        minutes, seconds = divmod(round(run.left), 60)
        parts.append(f"about {minutes} min {seconds} s left")
    percent = round(100 * min(1.0, run.step / run.steps)) if run.steps else 0
    bar = f'<progress max="100" value="{percent}">{percent} %</progress>'
    return f'<label class="progress">{" · ".join(parts)}{bar}</label>'
