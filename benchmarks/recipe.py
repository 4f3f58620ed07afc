"""Recipes for one data set: each is trained as a user would train it, for the same budget, and scored, over seeds.

A recipe is a name and overrides of --config; the first, without overrides, is the config itself. Recipes are trained
in turns: seed 0 of all, then seed 1 of all, so that a machine that becomes slower spoils no one of them. Budgets are
CPU seconds of one thread: wall-clock time on an idle machine, and nearly the same work on a busy one. Runs are kept
in --out, and a run that is complete is not trained again.
The table has each score of `multidiff evaluate` as the mean and half the range over seeds, and the share of samples
that are nearer to the training data than held-out samples are (50 % if nothing is memorised). With --peers, images are
also made by peers, as large and trained for as many seconds, with their own settings and with those of --config.

    python benchmarks/recipe.py --config 'experiment=image/folder data.root=EMOJI data.size=64' \\
        --data 'image_folder root=EMOJI size=64' --budget 5m --json emoji.json --out recipes_emoji \\
        --recipe 'dropout: backbone.dropout=0.1' \\
        --recipe 'cosine: schedule=cosine prediction=velocity objective=denoising'
    python benchmarks/recipe.py --config 'experiment=image/folder data=idx data.root=FASHION' \\
        --data 'idx root=FASHION' --peers
    python benchmarks/recipe.py --config 'experiment=audio/folder data.root=DRUMS' --data 'audio_folder root=DRUMS'
    python benchmarks/recipe.py --config 'experiment=shape/mesh_folder data.root=M' --data 'mesh_folder root=M'
"""

import argparse
import re
import shlex
import statistics
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from contest import NEARER, Contest, Entrant, environment, write
from omegaconf import OmegaConf

from multidiff.configuration import compose, resolved
from multidiff.evaluation.evaluation import Evaluation
from multidiff.evaluation.run import EvaluationRun, EvaluationSettings
from multidiff.sampling.model_directory import load
from multidiff.training import callbacks
from multidiff.training.budget import seconds_of
from multidiff.training.run_directory import CONFIG
from multidiff.training.train import train

BASE = "as configured"
SHOWN = ("frechet_distance", "kernel_distance", "precision", "recall", "set 1nna_chamfer", NEARER)
"""In the table; the record has all scores."""

Scores = dict[str, float]


def recipes(descriptions: Sequence[str]) -> dict[str, list[str]]:
    """Overrides by name, of ``NAME: OVERRIDES``."""
    named = {BASE: ""} | {name.strip(): words for name, _, words in (each.partition(":") for each in descriptions)}
    return {name: shlex.split(words) for name, words in named.items()}


def trained(name: str, overrides: Sequence[str], seed: int, arguments: argparse.Namespace) -> Path:
    """The run directory of a recipe with a seed, trained now unless it is complete."""
    run_dir = arguments.out / f"{re.sub(r'[^a-z0-9]+', '_', name.lower())}_{seed}"
    if not (run_dir / "model" / "model.safetensors").is_file():
        words = [*shlex.split(arguments.config), *overrides, f"seed={seed}", f"budget={arguments.budget}"]
        train(resolved(compose([*words, f"run_dir={run_dir}", "resume=auto"])))
    return run_dir


def scored(run_dir: Path, seed: int, arguments: argparse.Namespace) -> tuple[Scores, Scores]:
    """The scores of a run, and those of held-out data."""
    changes = {} if arguments.steps is None else {"steps": arguments.steps}
    settings = EvaluationSettings(
        data=arguments.data,
        model=str(run_dir),
        features=arguments.features,
        samples=arguments.samples,
        changes=changes,
        seed=seed,
    )
    result = EvaluationRun(settings).result()
    assert result is not None
    return figures(result.evaluation)


def of_peers(run_dir: Path, seed: int, arguments: argparse.Namespace) -> dict[str, Scores]:
    """The scores of peers as large as the model of a run, by name, trained in turns for as long as it."""
    from peers import Setting, count, peers  # noqa: PLC0415  of the extra `bench`

    pipeline, config = load(run_dir), OmegaConf.load(run_dir / CONFIG)
    ours = Setting(config.loader.batch_size, config.optimizer.lr, config.warmup_steps)
    modality, features = f"image channels={pipeline.data_shape[0]}", arguments.features or "encoder"
    contest = Contest.on(arguments.data, modality, features, arguments.samples, arguments.out / f"peers_{seed}", seed)
    steps = arguments.steps or pipeline.sampler["steps"]
    rivals = peers(pipeline.data_shape, count(pipeline.model), ours, steps, seed)
    seconds = seconds_of(arguments.budget)
    return contest.run({name: Entrant(each, seconds, seed) for name, each in rivals.items()})


def figures(evaluation: Evaluation) -> tuple[Scores, Scores]:
    """All scores of an evaluation, and those of held-out data; ``set NAME`` are those of sets."""
    found: dict[str, Any] = dict(evaluation.scores)
    if evaluation.sets is not None:
        found |= {f"set {name}": score for name, score in evaluation.sets.together.items()}
    values = {name: score.value for name, score in found.items()}
    floors = {name: score.floor for name, score in found.items()}
    return {**values, NEARER: evaluation.memorisation.nearer}, {**floors, NEARER: 0.5}


def summary(scores: Sequence[Scores]) -> dict[str, dict[str, float]]:
    """Mean and half the range of each score over seeds."""
    columns = {name: [each[name] for each in scores] for name in scores[0]}
    return {
        name: {"mean": statistics.mean(values), "spread": (max(values) - min(values)) / 2}
        for name, values in columns.items()
    }


def line(name: str, cells: Mapping[str, str]) -> str:
    """A line of the table, with the scores in `SHOWN`."""
    return f"{name:32}" + "  ".join(f"{score} {cells[score]}" for score in SHOWN if score in cells)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="of multidiff train, without budget, seed and run_dir")
    parser.add_argument("--data", required=True, help="as multidiff evaluate --data")
    parser.add_argument("--recipe", action="append", default=[], help="'NAME: OVERRIDES'")
    parser.add_argument("--peers", action="store_true", help="for images without a codec")
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--steps", type=int, help="of the sampler; its own by default")
    parser.add_argument("--features", help="as multidiff evaluate --features")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--out", type=Path, default=Path("recipes"))
    return parser.parse_args()


def main() -> None:
    """Train and score all recipes, and print the table."""
    arguments = parsed()
    torch.set_num_threads(1)
    callbacks.clock = time.process_time
    found: dict[str, list[Scores]] = defaultdict(list)
    floors: Scores = {}
    for seed in range(arguments.seeds):
        for name, overrides in recipes(arguments.recipe).items():
            scores, floors = scored(trained(name, overrides, seed, arguments), seed, arguments)
            found[name].append(scores)
            print(f"seed {seed}  {line(name, {key: f'{value:.4g}' for key, value in scores.items()})}", flush=True)
        if arguments.peers:
            for name, scores in of_peers(trained(BASE, [], seed, arguments), seed, arguments).items():
                found[name].append(scores)
    table = {name: summary(scores) for name, scores in found.items()}
    for name, row in table.items():
        print(line(name, {score: f"{cell['mean']:.4g} ± {cell['spread']:.2g}" for score, cell in row.items()}))
    print(line("real, held out", {score: f"{value:.4g}" for score, value in floors.items()}))
    settings: dict[str, Any] = {name: str(value) for name, value in vars(arguments).items()}
    record = {"environment": environment("multidiff-toolkit"), "settings": settings, "table": table, "real": floors}
    write(arguments.json, record)


if __name__ == "__main__":
    main()
