"""A diffusion model beside a small, well-tuned GAN after the same seconds of training, over several seeds.

The GAN is a DCGAN with later improvements: hinge loss (Lim and Ye 2017), spectral normalisation of the discriminator
(Miyato et al. 2018), and averaged weights of the generator. Both are unconditional. Fréchet distance and precision
measure quality; recall and coverage measure diversity, where GANs are known to be weak; milliseconds an image show the
cost of diffusion. The folder --out has pictures of the samples, which should be looked at beside the scores.

    python benchmarks/gan.py --seconds 120 --seeds 3 --json gan.json --plot gan.png --out gan
"""

import copy
import statistics
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
import torch.nn.functional as F
from contest import Contender, Contest, Entrant, Ours, contest_parser, environment, write
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

PLOTTED = ("frechet_distance", "precision", "recall", "coverage", "milliseconds_an_image")
LATENT = 64
BATCH, RATE, DECAY = 32, 2e-3, 0.999
"""Images a step, learning rate of both networks, decay of the average: the best of those tried; see docs/results.md."""


def generator(channels: int, side: int, width: int) -> nn.Sequential:
    """Noise ``(B, 64)`` to images, from a quarter of the side; the width halves where the side doubles."""
    first = side // 4
    return nn.Sequential(
        nn.Linear(LATENT, 4 * width * first**2),
        nn.Unflatten(1, (4 * width, first, first)),
        nn.BatchNorm2d(4 * width),
        nn.ReLU(),
        nn.ConvTranspose2d(4 * width, 2 * width, 4, stride=2, padding=1),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, channels, 3, padding=1),
        nn.Tanh(),
    )


def discriminator(channels: int, side: int, width: int) -> nn.Sequential:
    """Images to one logit each, ``(B, 1)``; the spectral norm of each layer is 1."""
    last = side // 4
    return nn.Sequential(
        spectral_norm(nn.Conv2d(channels, width, 3, padding=1)),
        nn.LeakyReLU(0.1),
        spectral_norm(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)),
        nn.LeakyReLU(0.1),
        spectral_norm(nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1)),
        nn.LeakyReLU(0.1),
        nn.Flatten(),
        spectral_norm(nn.Linear(4 * width * last**2, 1)),
    )


class GAN(Contender):
    """Generator and discriminator in alternating steps; samples are those of the averaged generator."""

    def __init__(self, shape: tuple[int, ...], width: int, seed: int):
        if shape[1] != shape[2] or shape[1] % 4:
            raise SystemExit(f"the GAN needs squares with a side divisible by 4; the data have the shape {shape}")
        torch.manual_seed(seed)
        self.batch_size, self.done = BATCH, 0
        self.draw = torch.Generator().manual_seed(seed)
        self.generator = generator(shape[0], shape[1], width)
        self.discriminator = discriminator(shape[0], shape[1], width)
        self.network = nn.ModuleList([self.generator, self.discriminator])
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        self.g_optimizer = torch.optim.Adam(self.generator.parameters(), RATE, betas=(0.0, 0.9), foreach=True)
        self.d_optimizer = torch.optim.Adam(self.discriminator.parameters(), RATE, betas=(0.0, 0.9), foreach=True)

    def step(self, x0: Tensor, labels: Tensor, progress: float) -> None:
        fake = self.generator(self._latent(len(x0)))
        real_score, fake_score = self.discriminator(x0), self.discriminator(fake.detach())
        self.d_optimizer.zero_grad()
        (F.relu(1 - real_score).mean() + F.relu(1 + fake_score).mean()).backward()
        self.d_optimizer.step()
        self.discriminator.requires_grad_(False)  # no gradients for it in the generator's step
        self.g_optimizer.zero_grad()
        (-self.discriminator(fake).mean()).backward()
        self.g_optimizer.step()
        self.discriminator.requires_grad_(True)
        self._follow()

    @torch.no_grad()
    def sample(self, n: int, seed: int) -> Tensor:
        return self.average.eval()(torch.randn(n, LATENT, generator=torch.Generator().manual_seed(seed)))

    def _latent(self, n: int) -> Tensor:
        return torch.randn(n, LATENT, generator=self.draw)

    @torch.no_grad()
    def _follow(self) -> None:
        self.done += 1
        keep = min(DECAY, self.done / (self.done + 10))
        for mine, theirs in zip(self.average.parameters(), self.generator.parameters(), strict=True):
            mine.lerp_(theirs, 1 - keep)
        for mine, theirs in zip(self.average.buffers(), self.generator.buffers(), strict=True):
            mine.copy_(theirs)


def spread(runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation of each figure over the seeds."""
    return {
        name: {
            "mean": statistics.fmean(run[name] for run in runs),
            "deviation": statistics.stdev(run[name] for run in runs) if len(runs) > 1 else 0.0,
        }
        for name in runs[0]
    }


def plot(table: dict[str, dict[str, dict[str, float]]], floor: dict[str, float], path: Path) -> None:
    mpl.use("Agg")
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(15, 3), layout="constrained")
    for axis, name in zip(figure.subplots(1, len(PLOTTED)), PLOTTED, strict=True):
        means, deviations = ([table[who][name][part] for who in table] for part in ("mean", "deviation"))
        axis.bar(list(table), means, yerr=deviations, capsize=5)
        if name in floor:
            axis.axhline(floor[name], color="black", linestyle=":")
        axis.set_title(name.replace("_", " "))
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = contest_parser(__doc__, Path("gan"))
    parser.add_argument("--width", type=int, default=32, help="of the GAN: channels at full size")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    contest = Contest.on(options.data, options.modality, options.features, options.samples, options.out)
    entrants: dict[str, Entrant] = {}
    for seed in range(options.seeds):
        ours = Ours(contest, options.ours_config.split(), options.steps, seed)
        entrants[f"diffusion {seed}"] = Entrant(ours, options.seconds, seed)
        entrants[f"GAN {seed}"] = Entrant(GAN(contest.shape, options.width, seed), options.seconds, seed)
    results = contest.run(entrants)
    runs = {who: [results[f"{who} {seed}"] for seed in range(options.seeds)] for who in ("diffusion", "GAN")}
    table, floor = {name: spread(each) for name, each in runs.items()}, contest.floor()
    print(f"\n{'':24}{'diffusion':>24}{'GAN':>24}{'real, held out':>16}")
    for figure in PLOTTED:
        cells = [f"{table[who][figure]['mean']:.4g} +- {table[who][figure]['deviation']:.2g}" for who in table]
        print(f"{figure:24}" + "".join(f"{cell:>24}" for cell in cells) + f"{floor.get(figure, float('nan')):>16.4g}")
    settings = {name: str(value) for name, value in vars(options).items()}
    write(
        options.json, {"environment": environment(), "settings": settings, "runs": runs, "table": table, "real": floor}
    )
    if options.plot:
        plot(table, floor, options.plot)


if __name__ == "__main__":
    main()
