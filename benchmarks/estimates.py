"""How well a model estimates x0 at each time, from t = 1, where samples start, to low noise.

The squared error of the estimates of held-out samples, relative to the variance of x0 about its mean: with the
conditions of each sample, without, and with those of another sample. A model that knows nothing but the mean has 1. At
t = 1, x_t is noise alone, so an error above 1 says that the model was not trained there.

    python benchmarks/estimates.py emoji --data 'emoji_scenes size=64 count=5000' --samples 200
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import Denoiser, coefficients
from multidiff.diffusion.noise import NoiseSource, sample_seeds
from multidiff.evaluation.evaluated import EvaluatedModel
from multidiff.evaluation.reference import Reference
from multidiff.model import Model

BATCH = 32

TIMES = (1.0, 0.97, 0.9, 0.75, 0.5, 0.25, 0.1, 0.03)


def error(denoiser: Denoiser, x0: Tensor, t: float, cond: Conditioning | None) -> Tensor:
    """The squared error of the estimates of ``x0``, ``(B, C, *size)``, at time ``t``, as means ``(B,)``."""
    noise = NoiseSource(sample_seeds(0, 0, len(x0)), x0.shape[1:], x0.dtype, x0.device).start()
    times = torch.full((len(x0),), t, dtype=torch.float64)
    a, sigma = coefficients(denoiser.schedule, times, x0)
    return (denoiser(a * x0 + sigma * noise, times, cond) - x0).square().flatten(1).mean(1)


@torch.no_grad()
def errors(model: Model, reference: Reference, count: int) -> dict[float, dict[str, float]]:
    """The errors at each of `TIMES`, relative to the variance of x0, by what the model is told."""
    held_out = reference.held_out
    rows = [held_out[i % len(held_out)] for i in range(count)]
    fields = [{name: reference.dataset.fields[name][row] for name in model.conditioner.reads} for row in rows]
    told = {"none": [{}] * count}
    if model.conditioner.reads:
        told = {"own conditions": fields, **told, "another's": [*fields[1:], fields[0]]}
    parts = torch.arange(count).split(BATCH)
    x0 = torch.cat([model.encode(torch.stack([reference.data(rows[i]) for i in part])) for part in parts])
    variance = (x0 - x0.mean(0)).square().mean()

    def relative(t: float, given: Sequence[Mapping[str, Any]]) -> float:
        each = [error(model.denoiser, x0[part], t, model.condition([given[i] for i in part])) for part in parts]
        return float(torch.cat(each).mean() / variance)

    return {t: {name: relative(t, given) for name, given in told.items()} for t in TIMES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a run or model directory, or a bundled model")
    parser.add_argument("--data", required=True, help="as for multidiff evaluate")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = EvaluatedModel(options.model, torch.device("cpu"))
    reference = Reference(model.modality, model.data(options.data), model.holdout, model.split_seed)
    found = errors(model.pipeline.model, reference, options.samples)
    for t, row in found.items():
        print(f"t = {t:<5g}" + "".join(f"{name} {value:.3f}   " for name, value in row.items()))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
