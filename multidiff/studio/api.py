"""The HTTP API: the same limits, queue and history as the page, in plain values. See docs/studio.md."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from multidiff.errors import InputError
from multidiff.studio.engine import QUEUE, Studio
from multidiff.studio.history import Result
from multidiff.studio.notices import reported
from multidiff.studio.request import PLAIN_RULE, Request


def add_api(studio: Studio) -> None:
    """Add the endpoints to the page that is being made."""
    gr.api(described(studio), api_name="models", queue=False)
    gr.api(generate(studio), api_name="generate", **QUEUE)
    gr.api(stop(studio), api_name="stop", queue=False)


def described(studio: Studio) -> Any:
    """The endpoint that lists the models."""

    def models() -> list[dict[str, Any]]:
        """List the models: name, modality, fields with what each accepts, and defaults."""
        return [
            {
                "name": name,
                "modality": pipeline.modality.name,
                "shape": list(pipeline.data_shape),
                "fields": {part.field: part.describe() for part in pipeline.model.conditioner},
                "sampler": pipeline.sampler["name"],
                "steps": pipeline.sampler["steps"],
                "guidance": pipeline.guidance,
            }
            for name, pipeline in studio.models.pipelines.items()
        ]

    return models


def generate(studio: Studio) -> Any:
    """The endpoint that generates."""

    def endpoint(
        model: str,
        fields: dict[str, Any] | None = None,
        n: int = 1,
        seed: int = 0,
        steps: int | None = None,
        sampler: str | None = None,
        guidance: float | None = None,
        guidance_rule: str = PLAIN_RULE,
        negative: str | None = None,
        batch_size: int | None = None,
        request: gr.Request = None,  # type: ignore[assignment]
    ) -> dict[str, Any]:
        """Generate samples: {"id": ..., "files": [...], "plan": {...}}."""
        optional = {"steps": steps, "batch_size": batch_size}
        counts = {"n": n, "seed": seed, **{name: value for name, value in optional.items() if value is not None}}
        wrong = next((name for name, value in counts.items() if type(value) is not int), None)
        if wrong:
            raise InputError(f"{wrong} is an integer, not {counts[wrong]!r}")
        texts = {"model": model, "sampler": sampler, "guidance_rule": guidance_rule, "negative": negative}
        wrong = next((name for name, value in texts.items() if not isinstance(value, str | None)), None)
        if wrong:
            raise InputError(f"{wrong} is a text, not {texts[wrong]!r}")
        if not isinstance(fields, dict | None):
            raise InputError(f"fields is an object of values by field, not {fields!r}")
        asked = Request(n, fields or {}, negative, guidance, guidance_rule, sampler, steps, seed, batch_size)
        with studio.line.place(str(request.session_hash)) as place:
            for _ in place.turn():
                continue
            plan = studio.plan(model, asked)
            return answer(last(studio.generate(place, model, plan)))

    return reported(endpoint, on_page=False)


def stop(studio: Studio) -> Any:
    """The endpoint that stops the jobs of the same session."""

    def endpoint(request: gr.Request) -> bool:
        """Stop the jobs of this session, also those that wait; whether there were any."""
        return studio.line.stop(str(request.session_hash))

    return endpoint


def last(events: Iterator[Any]) -> Result:
    """The result at the end of `Studio.generate`."""
    for event in events:
        result = event
    return result


def answer(result: Result) -> dict[str, Any]:
    """A result as the API answers it: its files are given by address, and clients of gradio download them."""
    return {"id": result.id, "files": [_file(path) for path in result.files], "plan": dict(result.record)}


def _file(path: Path) -> dict[str, Any]:
    return dict(gr.FileData(path=str(path), orig_name=path.name).model_dump())
