"""At which noise a model loses what its samples lack.

Real training samples are noised to a level ``sigma / alpha``, denoised from there by the model, and scored as
`multidiff evaluate` scores samples. Between two levels whose scores differ much, the model's estimates are at fault, or
its steps, of which ``--steps`` are made from each level.

    python benchmarks/noise_levels.py runs/drums --data drums --samples 200 --levels 0.1 0.3 1 3
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from multidiff.cli.subject import ModelSubject, data_of
from multidiff.configuration import described, instantiate
from multidiff.diffusion.editing import Edit
from multidiff.diffusion.grids import KarrasRho
from multidiff.diffusion.noise import NoiseSource
from multidiff.evaluation.evaluation import Evaluation, Evaluator
from multidiff.evaluation.features import Features
from multidiff.evaluation.reference import Reference
from multidiff.evaluation.sources import BLOCK, Source
from multidiff.sampling.pipeline import Pipeline
from multidiff.sampling.plan import seeds_of


class Restored(Source):
    """Real training samples, noised to ``level`` and denoised from there.

    Args:
        pipeline: the model.
        reference: the real data.
        count: how many.
        level: ``sigma / alpha``.
        steps: from there to no noise.
    """

    def __init__(self, pipeline: Pipeline, reference: Reference, count: int, level: float, steps: int):
        self.pipeline, self.reference = pipeline, reference
        training = np.random.default_rng(reference.seed).permutation(reference.training)
        self.indices = [int(training[i % len(training)]) for i in range(count)]
        self.asked = [reference.label(i) for i in self.indices]
        self.grid = KarrasRho(sigma_max=level)(pipeline.model.denoiser.schedule, steps)

    @torch.no_grad()
    def block(self, number: int) -> list[Any]:
        pipeline, rows = self.pipeline, self.rows(number)
        padded = [i % len(self) for i in range(rows.start, rows.start + BLOCK)]
        indices = [self.indices[i] for i in padded]
        x0 = torch.stack([self.reference.dataset.x0(i, np.random.default_rng(i)) for i in indices])
        noise = NoiseSource(seeds_of(0, rows.start, rows.start + BLOCK), pipeline.shape, x0.dtype, x0.device)
        conditions = [self.asked[i] for i in padded] if pipeline.model.conditioner.reads == "label" else [None] * BLOCK
        denoiser, method, _ = pipeline.prepared(pipeline.sampling.effective(conditions))
        restored = Edit(x0, 1.0)(denoiser, noise, method, self.grid, pipeline.model.condition(conditions))
        return [pipeline.modality.to_artifact(x) for x in restored[: len(rows)]]


def figures(evaluation: Evaluation) -> dict[str, float]:
    """The Fréchet distance, and what the modality measures of sets, on average over the classes and of the worst."""
    found = {"frechet": evaluation.scores["frechet_distance"].value}
    for name in evaluation.sets.by_class if evaluation.sets and evaluation.sets.classes else ():
        worst = evaluation.sets.worst(name)
        of_worst = evaluation.sets.classes[worst][name].value
        found |= {name: evaluation.sets.mean(name).value, f"{name} of {worst}": of_worst}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a run or model directory")
    parser.add_argument("--data", required=True, help="as multidiff evaluate takes it")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--levels", type=float, nargs="+", default=[0.1, 0.3, 1.0, 3.0, 80.0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cpu = torch.device("cpu")
    subject = ModelSubject(options.model, cpu)
    reference = Reference(subject.modality, data_of(options.data, subject), subject.holdout, subject.split_seed)
    features: Features = instantiate(described("features", str(subject.modality.features)))
    evaluator = Evaluator(reference, features.extractor(reference, cpu))
    results: dict[float, dict[str, float]] = {}
    for level in options.levels:
        source = Restored(subject.pipeline, reference, options.samples, level, options.steps)
        evaluation = evaluator.evaluate(source, {"level": level})
        assert evaluation is not None
        results[level] = figures(evaluation)
        print(f"{level:6g}: " + ", ".join(f"{name} {value:.4g}" for name, value in results[level].items()), flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
