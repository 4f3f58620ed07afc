"""Find the noise levels at which a model loses quality.

Noise is added to real training samples up to a noise level ``sigma / alpha``. The model denoises them from there, and
the results are scored as in `multidiff evaluate`. If the scores of two levels differ strongly, the estimates between
them are inaccurate, or the ``--steps`` steps from each level are too few.

    python benchmarks/noise_levels.py runs/drums --data drums --samples 200 --levels 0.1 0.3 1 3
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from multidiff.configuration import described, instantiate
from multidiff.diffusion.editing import Edit
from multidiff.diffusion.grids import KarrasRho
from multidiff.diffusion.noise import NoiseSource, sample_seeds
from multidiff.evaluation.evaluated import EvaluatedModel
from multidiff.evaluation.evaluation import Evaluation, Evaluator
from multidiff.evaluation.features import Features
from multidiff.evaluation.reference import Reference
from multidiff.evaluation.sources import BLOCK, Source
from multidiff.sampling.pipeline import Pipeline


class Restored(Source):
    """Real training samples with noise added up to ``level``, denoised by the model.

    Args:
        pipeline: the model.
        reference: the real data.
        count: number of samples.
        level: noise level ``sigma / alpha``.
        steps: steps from there to sigma = 0.
    """

    def __init__(self, pipeline: Pipeline, reference: Reference, count: int, level: float, steps: int):
        self.pipeline, self.reference = pipeline, reference
        training = np.random.default_rng(reference.seed).permutation(reference.training)
        self.indices = [int(training[i % len(training)]) for i in range(count)]
        self.labels = [reference.label(i) for i in self.indices]
        fields, reads = reference.dataset.fields, pipeline.model.conditioner.reads
        self.plan = pipeline.plan(
            count, fields={name: [column[i] for i in self.indices] for name, column in fields.items() if name in reads}
        )
        denoiser = pipeline.model.denoiser
        self.grid = KarrasRho(sigma_max=level).trained_at(denoiser.log_snr_range)(denoiser.schedule, steps)

    @torch.no_grad()
    def block(self, number: int) -> list[Any]:
        pipeline, rows = self.pipeline, self.rows(number)
        padded = [i % len(self) for i in range(rows.start, rows.start + BLOCK)]
        indices = [self.indices[i] for i in padded]
        data = torch.stack([self.reference.dataset.data(i, np.random.default_rng(i)) for i in indices])
        x0, block = pipeline.model.encode(data), range(rows.start, rows.start + BLOCK)
        noise = NoiseSource(sample_seeds(0, block.start, block.stop), pipeline.shape, x0.dtype, x0.device)
        condition = pipeline.model.condition(self.plan.fields(block))
        restored = Edit(x0, 1.0)(self.plan.denoiser(block), noise, self.plan.method, self.grid, condition)
        return pipeline.artifacts(restored)[: len(rows)]


def figures(evaluation: Evaluation) -> dict[str, float]:
    """The Fréchet distance, and the set metrics of the modality: mean over the classes, and of the worst class."""
    found = {"frechet": evaluation.scores["frechet_distance"].value}
    sets = evaluation.sets
    if sets is None or not sets.classes:
        return found
    for name in sets.by_class:
        worst = sets.worst(name)
        of_worst = sets.classes[worst][name].value
        found |= {name: sets.mean(name).value, f"{name} of {worst}": of_worst}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a run or model directory")
    parser.add_argument("--data", required=True, help="as for multidiff evaluate")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--levels", type=float, nargs="+", default=[0.1, 0.3, 1.0, 3.0, 80.0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cpu = torch.device("cpu")
    model = EvaluatedModel(options.model, cpu)
    reference = Reference(model.modality, model.data(options.data), model.holdout, model.split_seed)
    features = instantiate(Features, described("features", str(model.modality.features)))
    evaluator = Evaluator(reference, features.extractor(reference, cpu))
    results: dict[float, dict[str, float]] = {}
    for level in options.levels:
        source = Restored(model.pipeline, reference, options.samples, level, options.steps)
        evaluation = evaluator.evaluate(source, {"level": level})
        assert evaluation is not None
        results[level] = figures(evaluation)
        print(f"{level:6g}: " + ", ".join(f"{name} {value:.4g}" for name, value in results[level].items()), flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
