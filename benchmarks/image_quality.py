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
import io
import math
from collections import defaultdict
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import ema_pytorch
import matplotlib as mpl
import torch
from contest import CLIP, Contender, Contest, Entrant, Ours, contest_parser, environment, write
from denoising_diffusion_pytorch import GaussianDiffusion, Unet
from denoising_diffusion_pytorch import classifier_free_guidance as guided
from recipe import Scores, line, summary
from torch import Tensor, nn

TOLERANCE = 0.15
PLOTTED = ("frechet_distance", "kernel_distance", "precision", "recall", "samples_per_second", "milliseconds_an_image")


@dataclass(frozen=True)
class Setting:
    """How a peer is trained: samples a step, learning rate, and steps over which it rises."""

    batch_size: int
    lr: float
    warmup: int = 0


class Diffusers(Contender):
    """UNet2DModel as the example script train_unconditional.py trains it, with linear betas and epsilon prediction.

    The learning rate falls as a cosine, and the decay of the EMA rises. The sampler is DPM++ 2M with the thresholding
    that its documentation recommends for pixels: it keeps x0 in [-1, 1], as clip_sample does in their DDPM. Without it,
    samples are noise, because an error in epsilon is 157 times as large in x0 at the first step.
    """

    documented = Setting(batch_size=16, lr=1e-4, warmup=500)

    def __init__(
        self, shape: tuple[int, ...], size: int, steps: int, setting: Setting, seed: int = 0, classes: int = 0
    ):
        torch.manual_seed(seed)
        channels, side, _ = shape
        coarse = len(levels_of(side)) - 1
        self.network: Any = diffusers.UNet2DModel(
            sample_size=side,
            in_channels=channels,
            out_channels=channels,
            block_out_channels=tuple(size * factor for factor in levels_of(side)),
            norm_num_groups=4,
            down_block_types=("DownBlock2D",) + ("AttnDownBlock2D",) * coarse,
            up_block_types=("AttnUpBlock2D",) * coarse + ("UpBlock2D",),
            num_class_embeds=classes or None,
        )
        self.ema = diffusers.training_utils.EMAModel(
            self.network.parameters(), decay=0.9999, use_ema_warmup=True, power=0.75
        )
        self.scheduler = diffusers.DDPMScheduler(1000, beta_schedule="linear")
        weights = list(self.network.parameters())
        self.optimizer = torch.optim.AdamW(weights, setting.lr, betas=(0.95, 0.999), weight_decay=1e-6)
        self.setting, self.batch_size, self.done = setting, setting.batch_size, 0
        self.shape, self.steps, self.classes = shape, steps, classes

    def step(self, x0: Tensor, labels: Tensor, progress: float) -> None:
        self.done += 1
        rising = min(1, self.done / max(1, self.setting.warmup))
        for group in self.optimizer.param_groups:
            group["lr"] = self.setting.lr * rising * (1 + math.cos(math.pi * progress)) / 2
        noise, t = torch.randn_like(x0), torch.randint(1000, (len(x0),))
        self.optimizer.zero_grad()
        output = self.network(self.scheduler.add_noise(x0, noise, t), t, labels if self.classes else None).sample
        (output - noise).square().mean().backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimizer.step()
        self.ema.step(self.network.parameters())

    @torch.no_grad()
    def sample(self, n: int, seed: int) -> Tensor:
        self.network.eval()
        self.ema.store(self.network.parameters())
        self.ema.copy_to(self.network.parameters())
        scheduler = diffusers.DPMSolverMultistepScheduler.from_config(self.scheduler.config, thresholding=True)
        scheduler.set_timesteps(self.steps)
        x = torch.randn(n, *self.shape, generator=torch.Generator().manual_seed(seed))
        labels = torch.arange(n) % self.classes if self.classes else None
        for t in scheduler.timesteps:
            x = scheduler.step(self.network(x, t, labels).sample, t, x).prev_sample
        self.ema.restore(self.network.parameters())
        return x


class Lucidrains(Contender):
    """Unet and GaussianDiffusion with their defaults (velocity, sigmoid betas), EMA and Adam of Trainer, and DDIM.

    With classes: those of classifier_free_guidance and their defaults (noise, cosine betas). A scale of exactly 1 is an
    error there, so it is a millionth more.
    """

    documented = Setting(batch_size=16, lr=1e-4)

    def __init__(
        self, shape: tuple[int, ...], size: int, steps: int, setting: Setting, seed: int = 0, classes: int = 0
    ):
        torch.manual_seed(seed)
        channels, side, _ = shape
        form: dict[str, Any] = {"dim": size, "dim_mults": levels_of(side), "channels": channels}
        noise = {"image_size": side, "sampling_timesteps": steps}
        self.network: nn.Module = (
            guided.GaussianDiffusion(guided.Unet(**form, num_classes=classes), **noise, ddim_sampling_eta=0.0)
            if classes
            else GaussianDiffusion(Unet(**form), **noise)
        )
        self.ema = ema_pytorch.EMA(self.network, beta=0.995, update_every=10)
        self.optimizer = torch.optim.Adam(self.network.parameters(), setting.lr, betas=(0.9, 0.99))
        self.batch_size, self.classes = setting.batch_size, classes

    def step(self, x0: Tensor, labels: Tensor, progress: float) -> None:
        self.optimizer.zero_grad()
        pictures = (x0 + 1) / 2
        loss = self.network(pictures, classes=labels) if self.classes else self.network(pictures)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimizer.step()
        self.ema.update()

    @torch.no_grad()
    def sample(self, n: int, seed: int) -> Tensor:
        torch.manual_seed(seed)
        self.ema.ema_model.eval()
        with redirect_stderr(io.StringIO()):  # its progress bars cannot be switched off
            if self.classes:
                return 2 * self.ema.ema_model.sample(torch.arange(n) % self.classes, cond_scale=1 + 1e-6) - 1
            return 2 * self.ema.ema_model.sample(batch_size=n) - 1


def levels_of(side: int) -> tuple[int, ...]:
    """Widths of the levels, relative to the first: two for tiny images, three for others."""
    return (1, 2) if side <= 8 else (1, 2, 4)


def parameters(contender: Contender) -> int:
    return sum(parameter.numel() for parameter in contender.network.parameters())


def matched(make: Callable[[int], Contender], target: int) -> int:
    """The size with the number of parameters nearest to ``target``, within `TOLERANCE`."""
    counts: dict[int, int] = {}
    for size in range(8, 257, 4):
        counts[size] = parameters(make(size))
        if counts[size] > target:
            break
    size = min(counts, key=lambda size: abs(counts[size] - target))
    if abs(counts[size] / target - 1) > TOLERANCE:
        raise SystemExit(f"no size has {target} parameters within {TOLERANCE:.0%}; the nearest has {counts[size]}")
    return size


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
        for name, kind in (("diffusers", Diffusers), ("denoising-diffusion-pytorch", Lucidrains)):
            make = partial(kind, contest.shape, steps=options.steps, classes=len(classes))
            size = matched(lambda size, make=make: make(size, setting=same), parameters(mine))
            for words, setting in (("its settings", kind.documented), ("our settings", same)):
                found[f"{name}, {words}"] = entrant(make(size, setting=setting, seed=seed))
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
