"""Shared code of the quality benchmarks: models that train for equal times on the same data, and their scores.

Times are CPU seconds of the main thread: equal to wall-clock time on an idle machine, and the same amount of work on a
busy one. Models train in turns of a few seconds, so that other load on the machine slows all of them equally.
"""

import argparse
import json
import platform
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from modalities.image.modality import ImageModality
from multidiff.configuration import compose, described, instantiate, resolved
from multidiff.data.dataset import Dataset
from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.objectives import Context, Objective
from multidiff.evaluation.evaluation import Evaluator
from multidiff.evaluation.features import Features
from multidiff.evaluation.reference import Reference
from multidiff.evaluation.sources import Source
from multidiff.model import build_model
from multidiff.sampling.pipeline import Pipeline
from multidiff.training.ema import EMA, Decay
from multidiff.training.fitting import BATCH, fitted_backbone, fitted_warmup

CLIP = 1.0
"""Gradient clipping of the diffusion models, as a norm."""

TURN = 5.0
"""Seconds of training in one turn."""

TIMED = 16
"""Images whose sampling is timed at once."""

NEARER = "nearer_to_training"
"""The share of samples that are nearer to the training data than held-out samples are."""


class Contender(ABC):
    """A generative model of images in a contest.

    Attributes:
        batch_size: images per step.
        network: the trained module, whose parameters are counted.
    """

    batch_size: int
    network: nn.Module

    @abstractmethod
    def step(self, x0: Tensor, labels: Tensor, progress: float) -> None:
        """One training step after the fraction ``progress`` of its time.

        Args:
            x0: ``(B, C, H, W)`` in [-1, 1].
            labels: ``(B,)``, the numbers of the classes, for contenders that have classes.
            progress: from 0 to 1.
        """

    @abstractmethod
    def sample(self, n: int, seed: int) -> Tensor:
        """Generate images, ``(n, C, H, W)`` in about [-1, 1], of each class equally many, without guidance."""


class Ours(Contender):
    """MultiDiff with the config of an experiment, with classes or without, for data that need no codec."""

    def __init__(
        self, contest: "Contest", overrides: Sequence[str], steps: int, seed: int, classes: Sequence[str] = ()
    ):
        torch.manual_seed(seed)
        conditioning = "label" if classes else "none"
        composed = compose([*overrides, "run_dir=unused", "data=digits", f"conditioning={conditioning}"])
        settings = fitted_warmup(resolved(composed), None)
        if classes:
            settings["conditioning"]["label"]["vocabulary"] = list(classes)
        shape = contest.shape
        settings["backbone"] = fitted_backbone(settings["backbone"], None, shape, len(contest.images), False)
        self.network = self.model = build_model(settings, shape)
        self.ema = EMA(self.network, instantiate(Decay, settings["ema"]))
        self.objective = instantiate(Objective, settings["objective"])
        self.optimizer = instantiate(Optimizer, settings["optimizer"], params=list(self.network.parameters()))
        self.warmup, self.lr, self.done = settings["warmup_steps"], settings["optimizer"]["lr"], 0
        self.cooldown = settings["cooldown"]
        self.batch_size = settings["loader"]["batch_size"] or BATCH
        self.precision = settings["trainer"]["precision"]
        self.generator = torch.Generator().manual_seed(seed)
        sampler = {**settings["sampler"], "steps": steps}
        self.pipeline = Pipeline(self.ema.model, contest.modality, shape, sampler)  # type: ignore[arg-type]
        self.classes = classes

    def step(self, x0: Tensor, labels: Tensor, progress: float) -> None:
        self.done += 1
        for group in self.optimizer.param_groups:
            falling = min(1, (1 - progress) / self.cooldown) if self.cooldown else 1
            group["lr"] = self.lr * min(1, self.done / max(1, self.warmup)) * falling
        self.optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16-mixed"):
            loss = self.objective(Context(self.model.denoiser, x0, self._condition(labels), self.generator)).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimizer.step()
        self.ema.update(self.network)

    def sample(self, n: int, seed: int) -> Tensor:
        label = list(self.classes) or None
        return self.pipeline.plan(n, label=label, guidance=1.0, seed=seed).x0(range(n))

    def _condition(self, labels: Tensor) -> Conditioning | None:
        if not self.classes:
            return None
        conditioner = self.model.conditioner
        fields = [{"label": self.classes[label]} for label in labels]
        return self.model.condition(conditioner.dropped(fields, self.generator))


class Tensors(Source):
    """A source of given images, ``(N, C, H, W)``."""

    def __init__(self, modality: ImageModality, x: Tensor):
        self.modality, self.x, self.labels = modality, x, [None] * len(x)

    def block(self, number: int) -> list[Any]:
        return [self.modality.to_artifact(self.x[row]) for row in self.rows(number)]


@dataclass
class Entrant:
    """A contender with its training time in seconds: available (``seconds``) and used (``spent``)."""

    contender: Contender
    seconds: float
    seed: int = 0
    spent: float = 0.0
    steps: int = 0

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    @property
    def finished(self) -> bool:
        return self.spent >= self.seconds

    def train(self, images: Tensor, labels: Tensor) -> None:
        """Train for one turn."""
        self.contender.network.train()
        began = time.thread_time() - self.spent
        stop = min(self.spent + TURN, self.seconds)
        while self.spent < stop:
            chosen = self.random.integers(len(images), size=self.contender.batch_size)
            self.contender.step(images[chosen], labels[chosen], self.spent / self.seconds)
            self.steps += 1
            self.spent = time.thread_time() - began


@dataclass(frozen=True)
class Contest:
    """The data of a contest, and the evaluation of the contenders.

    Attributes:
        reference: the data; all contenders train on its training part.
        evaluator: evaluates the samples.
        images: the training part, ``(N, C, H, W)``.
        labels: ``(N,)``, the numbers of their classes; 0 where the data have no labels.
        classes: names of the classes; none where the data have no labels.
        samples: number of samples per contender.
        out: folder for sheets of samples.
    """

    reference: Reference
    evaluator: Evaluator
    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    samples: int
    out: Path

    @classmethod
    def on(cls, data: str, modality: str, features: str, samples: int, out: Path, seed: int = 0) -> "Contest":
        """A contest on data, modality and features, each as ``NAME KEY=VALUE ...``, held out as a run with ``seed``."""
        kind = instantiate(ImageModality, described("modality", modality))
        reference = Reference(
            kind, instantiate(Dataset, described("data", data), modality=kind), holdout=0.1, seed=seed
        )
        extractor = instantiate(Features, described("features", features)).extractor(reference, torch.device("cpu"))
        print(f"{extractor.name}: {dict(extractor.facts)}")
        images = torch.stack([reference.dataset.data(i, np.random.default_rng(i)) for i in reference.training])
        names = reference.dataset.fields.get("label", [])
        classes = tuple(sorted(set(names)))
        labels = torch.tensor([classes.index(names[i]) if classes else 0 for i in reference.training])
        out.mkdir(parents=True, exist_ok=True)
        return cls(reference, Evaluator(reference, extractor), images, labels, classes, samples, out)

    @property
    def modality(self) -> ImageModality:
        return self.reference.modality  # type: ignore[return-value]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.reference.dataset.shape)

    def run(self, entrants: Mapping[str, Entrant]) -> dict[str, dict[str, Any]]:
        """Train all entrants in turns, then sample, save a sheet of samples, and score."""
        while waiting := [entrant for entrant in entrants.values() if not entrant.finished]:
            for entrant in waiting:
                entrant.train(self.images, self.labels)
        return {name: self._figures(name, entrant) for name, entrant in entrants.items()}

    def floor(self) -> dict[str, float]:
        """Scores of the held-out real images."""
        evaluation = self.evaluator.evaluate(self.evaluator.held_out, {})
        assert evaluation is not None
        return {name: score.value for name, score in evaluation.scores.items()} | {NEARER: 0.5}

    def _figures(self, name: str, entrant: Entrant) -> dict[str, Any]:
        contender, seed = entrant.contender, entrant.seed
        x = torch.cat([contender.sample(64, seed * 1000 + i) for i in range(-(-self.samples // 64))])[: self.samples]
        source = Tensors(self.modality, x.float().nan_to_num(0))
        self.modality.preview(source.first(64)).save(self.out / f"{name.replace(' ', '_').replace(',', '')}.png")
        evaluation = self.evaluator.evaluate(source, {"name": name})
        assert evaluation is not None
        figures = {
            "parameters": sum(parameter.numel() for parameter in contender.network.parameters()),
            "seconds": entrant.spent,
            "steps": entrant.steps,
            "samples_per_second": entrant.steps * contender.batch_size / entrant.spent,
            "milliseconds_an_image": milliseconds(lambda: contender.sample(TIMED, seed)) / TIMED,
            "finite": bool(x.isfinite().all()),
            **{score: result.value for score, result in evaluation.scores.items()},
            NEARER: evaluation.memorisation.nearer,
        }
        quality = ("frechet_distance", "precision", "recall", NEARER)
        shown = ("parameters", "samples_per_second", "milliseconds_an_image", *quality)
        print(f"{name:52}" + "".join(f"{figure} {figures[figure]:.4g}  " for figure in shown), flush=True)
        return figures


def milliseconds(function: Callable[[], Any], rounds: int = 3) -> float:
    """Median CPU time of a call in milliseconds, after one warm-up call."""
    durations = []
    for _ in range(rounds + 1):
        began = time.thread_time()
        function()
        durations.append(1000 * (time.thread_time() - began))
    return statistics.median(durations[1:])


def environment(*packages: str) -> dict[str, Any]:
    """Machine and versions, for the record."""
    return {
        "machine": platform.processor() or platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name: version(name) for name in packages},
        "dtype": "float32",
    }


def write(path: Path | None, record: dict[str, Any]) -> None:
    if path:
        path.write_text(json.dumps(record, indent=2) + "\n")


def contest_parser(description: str | None, out: Path) -> argparse.ArgumentParser:
    """The options that contests have in common."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits", help="as multidiff evaluate --data, by name")
    parser.add_argument("--modality", default="image channels=1")
    parser.add_argument("--features", default="encoder")
    parser.add_argument("--ours-config", default="experiment=image/digits", help="overrides of the training config")
    parser.add_argument("--seconds", type=float, default=120, help="of training, each")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=20, help="of our sampler, and of diffusion peers")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=out, help="folder for the sheets of samples")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    return parser
