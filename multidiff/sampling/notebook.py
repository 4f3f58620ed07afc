"""What a notebook shows of a pipeline."""

import html
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multidiff.sampling.pipeline import Pipeline


def model_facts(pipeline: "Pipeline") -> dict[str, str]:
    """What a person asks first about a model, by name."""
    sampler = pipeline.sampler
    return {
        "modality": pipeline.modality.name,
        "samples": " x ".join(map(str, pipeline.data_shape)),
        "parameters": f"{sum(parameter.numel() for parameter in pipeline.model.parameters()):,}",
        "conditions": pipeline.model.conditioner.describe(),
        "sampling": f"{sampler['name']}, {sampler['steps']} steps, guidance {pipeline.guidance}",
        "weights": f"SHA-256 {pipeline.sha256[:12]}" if pipeline.sha256 else "not saved",
    }


def table(rows: Mapping[str, str]) -> str:
    """Names and values as an HTML table."""
    cells = (f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in rows.items())
    return f"<table>{''.join(cells)}</table>"
