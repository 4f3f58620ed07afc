"""The controls of one model: those that it takes, and no others."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from multidiff.conditioners import FieldConditioner
from multidiff.conditioners.number import NumberConditioner
from multidiff.configuration import advice, group_options
from multidiff.errors import InputError
from multidiff.sampling.pipeline import Pipeline
from multidiff.sampling.requested import negative_field
from multidiff.sampling.sampler_config import chosen_sampler
from multidiff.studio.limits import Limits
from multidiff.studio.request import EXACT, PLAIN_RULE, Request, sampler_named, sampler_names

ANY = "any"
"""The choice of no value."""

MOST_GUIDANCE = 10.0

Parts = dict[str, gr.components.Component]


class Controls:
    """The controls of a model, made in the present place of the page.

    Args:
        pipeline: the model.
        limits: of a request.
        samplers: the sampler files, by name.

    Attributes:
        parts: the components by the name of the setting; those of fields are ``field NAME``.
    """

    def __init__(self, pipeline: Pipeline, limits: Limits, samplers: Mapping[str, Path]):
        self.pipeline, self.limits, self.samplers, self.parts = pipeline, limits, samplers, Parts()

    @property
    def inputs(self) -> list[gr.components.Component]:
        """All components, in the order of the values that `request` takes."""
        return list(self.parts.values())

    def conditions(self) -> None:
        """Make the controls for what to generate."""
        for part in self.pipeline.model.conditioner:
            self.parts[f"field {part.field}"] = field_control(part)

    def seed(self) -> None:
        """Make the controls for how many, and which."""
        most = self.limits.samples
        with gr.Row():
            self.parts["n"] = gr.Slider(1, max(2, most), min(4, most), step=1, label="Versions", min_width=120)
            self.parts["seed"] = gr.Number(0, precision=0, label="Seed", minimum=-EXACT, maximum=EXACT, min_width=100)
        with gr.Row():
            self.parts["lock"] = gr.Checkbox(label="Keep the seed", min_width=160)
            dice = gr.Button("⚄ New seed", size="sm", min_width=100)
        dice.click(new_seed, None, self.parts["seed"], api_visibility="private", queue=False)

    def sampling(self) -> None:
        """Make the controls for how to generate."""
        own, modality = self.pipeline, self.pipeline.modality
        names = sampler_names(own, self.samplers)
        sampler = gr.Dropdown(names, value=names[0], label="Sampler", info=self._advice(names[0]))
        steps = gr.Slider(1, self.limits.most_steps(own), own.sampler["steps"], step=1, label="Steps")
        self.parts |= {"sampler": sampler, "steps": steps}
        sampler.input(self._chosen, sampler, [sampler, steps], api_visibility="private", queue=False)
        if own.model.conditioner.reads:
            self._guidance()
        self.parts["batch_size"] = gr.Slider(
            0,
            max(2, self.limits.batch),
            0,
            step=1,
            label="Batch size",
            info="Affects speed and memory; 0 chooses it from the size of the samples.",
        )
        for name, value in modality.sizes(own.data_shape).items():
            self.parts[f"size {name}"] = gr.Number(value, precision=0, label=name.capitalize(), minimum=1)

    def _guidance(self) -> None:
        own, rules = self.pipeline.guidance, group_options("guidance_rule")
        scale = gr.Slider(
            0, MOST_GUIDANCE, own, step=0.1, label="Guidance", info="How closely to follow the condition; 1 is off."
        )
        rule = gr.Dropdown(rules, value=PLAIN_RULE, label="Guidance rule", info=advice("guidance_rule", PLAIN_RULE))
        rule.input(
            lambda name: gr.update(info=advice("guidance_rule", name)),
            rule,
            rule,
            api_visibility="private",
            queue=False,
        )
        negative = negative_control(self.pipeline)
        self.parts |= {"guidance": scale, "rule": rule, "negative": negative}

    def request(self, values: Sequence[Any]) -> Request:
        """What the controls say.

        Raises:
            InputError: a number is missing.
        """
        given = dict(zip(self.parts, values, strict=True))
        empty = next((name for name in ("n", "seed", "steps", "batch_size") if given[name] is None), None)
        if empty:
            raise InputError(f"{empty} is empty: give a number")
        fields = _named("field ", given)
        sizes = _named("size ", given)
        own = self.pipeline.modality.sizes(self.pipeline.data_shape)
        fields |= {name: value for name, value in sizes.items() if value != own[name]}
        return Request(
            n=int(given["n"]),
            fields=fields,
            negative=_value(given.get("negative")),
            guidance=given.get("guidance"),
            rule=given.get("rule") or PLAIN_RULE,
            sampler=given["sampler"],
            steps=int(given["steps"]),
            seed=int(given["seed"]),
            batch_size=int(given["batch_size"]) or None,
        )

    def filled(self, request: Request) -> list[Any]:
        """Updates by which the controls say ``request``, with the seed locked, in the order of `inputs`."""
        sizes = self.pipeline.modality.sizes(self.pipeline.data_shape)
        values = {**vars(request), "lock": True, "batch_size": request.batch_size or 0}
        values |= {f"size {name}": request.fields.get(name, value) for name, value in sizes.items()}
        for part in self.pipeline.model.conditioner:
            values[f"field {part.field}"] = shown(part, request.fields.get(part.field))
        values["negative"] = request.negative or (ANY if getattr(self.parts.get("negative"), "choices", None) else "")
        if request.sampler is not None:
            return [
                gr.update(value=values[name], info=self._advice(request.sampler))
                if name == "sampler"
                else gr.update(value=values[name])
                for name in self.parts
            ]
        return [gr.update(value=values[name]) for name in self.parts]

    def _chosen(self, name: str) -> tuple[Any, Any]:
        """The advice and the own steps of a sampler that was chosen."""
        named = sampler_named(name, self.pipeline, self.samplers)
        steps = chosen_sampler(self.pipeline.sampler, named, None)["steps"]
        return gr.update(info=self._advice(name)), min(steps, self.limits.most_steps(self.pipeline))

    def _advice(self, name: str) -> str:
        """The line of advice of a sampler."""
        if name in group_options("sampler"):
            return advice("sampler", name)
        return "Loaded from a sampler file." if name in self.samplers else "The default sampler of this model."


def field_control(part: FieldConditioner) -> gr.components.Component:
    """The control of a field: a choice, a number in its range, or a text."""
    label = "Prompt" if part.field == "caption" else part.field.replace("_", " ").capitalize()
    if part.choices:
        return gr.Dropdown([ANY, *part.choices], value=part.choices[0], label=label)
    if isinstance(part, NumberConditioner):
        return gr.Number(None, label=label, info=f"{part.describe()}; empty for any")
    return gr.Textbox(label=label, placeholder="a few words", info=part.describe(), lines=2, max_length=1000)


def negative_control(pipeline: Pipeline) -> gr.components.Component:
    """The control of what to steer away from, in the field that guidance follows by default."""
    conditioner = pipeline.model.conditioner
    field = negative_field(conditioner.reads, conditioner.guided)
    part = next(part for part in conditioner if part.field == field)
    info = "Guidance steers away from this; needs guidance above 1."
    if part.choices:
        return gr.Dropdown([ANY, *part.choices], value=ANY, label="Negative", info=info)
    return gr.Textbox(label="Negative", info=info, max_length=1000)


def new_seed() -> int:
    """A seed that is short enough to be noted down."""
    return random.SystemRandom().randrange(1_000_000)


def shown(part: FieldConditioner, value: Any) -> Any:
    """The value of a field as its control shows it."""
    if part.choices:
        return ANY if value is None else str(value)
    return value if value is not None or isinstance(part, NumberConditioner) else ""


def _named(prefix: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the controls with ``prefix`` that are given, without it."""
    named = {key.removeprefix(prefix): _value(value) for key, value in given.items() if key.startswith(prefix)}
    return {name: value for name, value in named.items() if value is not None}


def _value(value: Any) -> Any:
    """The value of a control; None where it says nothing."""
    return None if value is None or value == ANY or (isinstance(value, str) and not value.strip()) else value
