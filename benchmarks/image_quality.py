"""Quality of images after the same seconds of training: ours, diffusers, and lucidrains' denoising-diffusion-pytorch.

All models train on the same images, in one process, in turns of a few seconds, without classes or with --classes, and
sample without guidance; parameter counts differ by at most 15 %. Each peer runs with its documented settings, and again
with our batch size and learning rate. Ours runs for half of the seconds and for all. The table has the mean and half
the range over --seeds; nearer_to_training is the share of samples that are nearer to the training data than held-out
images (0.5 if nothing is memorised). The folder --out has pictures of the samples, which should be looked at.

    python benchmarks/image_quality.py --seconds 120 --json quality.json --plot quality.png --out quality
    python benchmarks/image_quality.py --data 'idx root=MNIST' --ours-config 'experiment=image/digits backbone=unet'
    python benchmarks/image_quality.py --data 'image_folder root=PICTURES size=32' --modality 'image channels=3'
    python benchmarks/image_quality.py --ablation 'edm: schedule=karras prediction=edm objective=edm' --no-peers
"""

import argparse
from collections import defaultdict
from pathlib import Path

import matplotlib as mpl
import torch
from contest import Contender, Contest, Entrant, Ours, contest_parser, environment, write
from peers import Setting, count, peers
from recipe import Scores, line, summary

PLOTTED = ("frechet_distance", "kernel_distance", "precision", "recall", "samples_per_second", "milliseconds_an_image")


def plot(table: dict[str, dict[str, dict[str, float]]], floor: dict[str, float], path: Path) -> None:
    mpl.use("Agg")
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(14, 6), layout="constrained")
    for axis, name in zip(figure.subplots(2, 3, sharey=True).flat, PLOTTED, strict=True):
        means, spreads = ([row[name][part] for row in table.values()] for part in ("mean", "spread"))
        axis.barh(list(table), means, xerr=spreads, capsize=3)
        if name in floor:
            axis.axvline(floor[name], color="black", linestyle=":", label="real, held out")
            axis.legend(fontsize=7)
        axis.set_title(name.replace("frechet", "Fréchet").replace("_", " "))
        axis.tick_params(labelsize=7)
    figure.savefig(path, dpi=110)


def entrants(contest: Contest, options: argparse.Namespace, seed: int) -> dict[str, Entrant]:
    """All models with the weights of a seed, by name."""
    classes = contest.classes if options.classes else ()

    def ours(overrides: str = "") -> Ours:
        words = [*options.ours_config.split(), *overrides.split()]
        return Ours(contest, words, options.steps, seed, classes)

    def entrant(contender: Contender, share: float = 1.0) -> Entrant:
        return Entrant(contender, share * options.seconds, seed)

    found = {"ours, half the seconds": entrant(ours(), 0.5), "ours": entrant(ours())}
    for variant in options.ablation:
        name, _, overrides = variant.partition(":")
        found[name] = entrant(ours(overrides))
    if not options.no_peers:
        mine = ours()
        same = Setting(mine.batch_size, mine.lr, mine.warmup)
        rivals = peers(contest.shape, count(mine.network), same, options.steps, seed, len(classes))
        found |= {name: entrant(contender) for name, contender in rivals.items()}
    return found


def main() -> None:
    parser = contest_parser(__doc__, Path("quality"))
    parser.add_argument("--ablation", action="append", default=[], help="'NAME: OVERRIDES', a further variant of ours")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--classes", action="store_true", help="all models are given the classes")
    parser.add_argument("--seeds", type=int, default=1, help="of the weights, the batches, the noise and the samples")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    contest = Contest.on(options.data, options.modality, options.features, options.samples, options.out)
    if options.classes and not contest.classes:
        raise SystemExit("--classes needs data with labels")
    runs: dict[str, list[Scores]] = defaultdict(list)
    for seed in range(options.seeds):
        results = contest.run({f"{name}, seed {seed}": each for name, each in entrants(contest, options, seed).items()})
        for name, figures in results.items():
            runs[name.removesuffix(f", seed {seed}")].append(figures)
    table, floor = {name: summary(each) for name, each in runs.items()}, contest.floor()
    for name, row in table.items():
        print(line(name, {score: f"{cell['mean']:.4g} ± {cell['spread']:.2g}" for score, cell in row.items()}))
    print(line("real, held out", {score: f"{value:.4g}" for score, value in floor.items()}))
    versions = environment("diffusers", "denoising-diffusion-pytorch")
    settings = {name: str(value) for name, value in vars(options).items()}
    record = {"environment": versions, "settings": settings, "runs": runs, "table": table, "real": floor}
    write(options.json, record)
    if options.plot:
        plot(table, floor, options.plot)


if __name__ == "__main__":
    main()
