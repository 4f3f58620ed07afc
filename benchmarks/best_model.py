"""Which score, computed while training, chooses the best model of a run: rank correlations with the final score.

A model is kept at regular steps. Each has the scores that training can afford: the held-out loss, and the distances
of --quick samples in --quick-steps steps. The final score of each is the Fréchet distance of --samples samples from
other seeds, in the default number of steps. For each score, the table has its rank correlation with the final score
(Spearman's; 1 is the same order), and what its choice loses: the final score of the model that it chooses, over that
of the best model (1 is no loss). Both are the mean over --seeds trainings, with half the range.

    python benchmarks/best_model.py --config experiment=image/digits --data digits --every 250 --json digits.json
    python benchmarks/best_model.py --config 'experiment=audio/folder data.root=KITS' --data 'audio_folder root=KITS' \\
        --every 50 --samples 600 --json kits.json --out best_kits
"""

import argparse
import json
import shlex
import shutil
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contest import environment, write
from recipe import Scores, scored, summary
from scipy.stats import spearmanr

from multidiff.configuration import compose, resolved
from multidiff.data.files import atomic_directory
from multidiff.evaluation import LOWER_IS_BETTER
from multidiff.studio.runs import LOSSES, Run
from multidiff.training.train import train

FINAL = "frechet_distance"
HELD_OUT = LOSSES["val/loss"]
DISTANCES = ("frechet_distance", "kernel_distance", "precision", "recall")


def kept(seed: int, arguments: Namespace) -> list[tuple[Path, float]]:
    """The models of a training in the order of their steps with their held-out losses; those that exist are kept."""
    run_dir, found = arguments.out / f"seed_{seed}", []
    for steps in range(arguments.every, arguments.every * arguments.count + 1, arguments.every):
        model = run_dir / "kept" / f"step_{steps:08d}"
        if not model.is_dir():
            words = [f"seed={seed}", f"trainer.max_steps={steps}", f"trainer.val_check_interval={arguments.every}"]
            train(resolved(compose([*shlex.split(arguments.config), *words, f"run_dir={run_dir}", "resume=auto"])))
            with atomic_directory(model) as folder:
                shutil.copytree(run_dir / "model", folder, dirs_exist_ok=True)
        losses = {step: value for step, name, value in Run.read(run_dir).curve(by_noise=False) if name == HELD_OUT}
        found.append((model, losses[steps - 1]))
    return found


def judged(model: Path, seed: int, arguments: Namespace) -> tuple[Scores, float]:
    """The distances of a model that training can afford, lower being better, and its final score."""
    options = {"data": arguments.data, "features": arguments.features}
    quick, _ = scored(model, seed, Namespace(samples=arguments.quick, steps=arguments.quick_steps, **options))
    final, _ = scored(model, seed + arguments.seeds, Namespace(samples=arguments.samples, steps=None, **options))
    distances = {name: quick[name] if name in LOWER_IS_BETTER else -quick[name] for name in DISTANCES}
    return distances, final[FINAL]


def choice(costs: Sequence[float], finals: Sequence[float]) -> dict[str, float]:
    """The rank correlation with the final scores, and what the model of the lowest cost scores, over the best.

    Args:
        costs: of each model, by a score.
        finals: final score of each model, positive.
    """
    chosen = finals[min(range(len(costs)), key=costs.__getitem__)]
    return {"correlation": float(spearmanr(costs, finals).statistic), "lost": chosen / min(finals)}


def parsed() -> Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="of multidiff train, without steps, seed and run_dir")
    parser.add_argument("--data", required=True, help="as multidiff evaluate --data")
    parser.add_argument("--every", type=int, default=250, help="steps between the models")
    parser.add_argument("--count", type=int, default=12, help="of models of a training")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", type=int, default=200)
    parser.add_argument("--quick-steps", type=int, default=10)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--features", help="as multidiff evaluate --features")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--out", type=Path, default=Path("best_model"))
    return parser.parse_args()


def main() -> None:
    """Train, score all models, and print what each score chooses."""
    arguments = parsed()
    models: list[dict[str, Any]] = []
    choices: list[dict[str, dict[str, float]]] = []
    for seed in range(arguments.seeds):
        found = []
        for model, loss in kept(seed, arguments):
            distances, final = judged(model, seed, arguments)
            by_score = {HELD_OUT: loss, **distances}
            found.append((by_score, final))
            models.append({"seed": seed, "model": model.name, "costs": by_score, "final": final})
            print(f"seed {seed} {model.name}  final {final:.4g}  {json.dumps(by_score)}", flush=True)
        finals = [final for _, final in found]
        choices.append({name: choice([each[name] for each, _ in found], finals) for name in (HELD_OUT, *DISTANCES)})
        choices[-1]["the last model"] = {"lost": finals[-1] / min(finals)}
    table = {name: summary([each[name] for each in choices]) for name in choices[0]}
    for name, row in table.items():
        print(f"{name:18}", *(f"{key} {cell['mean']:.3f} ± {cell['spread']:.2g}" for key, cell in row.items()))
    settings = {name: str(value) for name, value in vars(arguments).items()}
    record = {"environment": environment("multidiff-toolkit"), "settings": settings, "table": table, "models": models}
    write(arguments.json, record)


if __name__ == "__main__":
    main()
