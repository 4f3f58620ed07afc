"""multidiff quickstart: from nothing to samples of every modality."""

import time
from dataclasses import dataclass
from pathlib import Path

from multidiff.cli import export, sample
from multidiff.configuration import compose
from multidiff.errors import InputError
from multidiff.sampling.model_directory import load
from multidiff.training.train import train


@dataclass(frozen=True)
class Part:
    """One training of the quickstart.

    Attributes:
        experiment: which is trained.
        shorter: what makes it shorter, so that it takes minutes on two cores.
        each: samples drawn of each class.
        size: of a sample, in points or pixels; None for that of the training.
        format: in which the samples are also exported, into a folder of that name; None for not.
    """

    experiment: str
    shorter: tuple[str, ...] = ()
    each: int = 10
    size: int | None = None
    format: str | None = None


PARTS = {
    "digits": Part("image/digits"),
    "drums": Part("audio/drums", ("trainer.max_steps=250", "data.count=2000")),
    "furniture": Part(
        "shape/furniture", ("trainer.max_steps=1400", "data.points=256"), each=2, size=1024, format="glb"
    ),
}
"""What is trained, by name. A quarter of the points takes a quarter of the time, and a model makes any number."""


def run(out: Path) -> None:
    """Train each of `PARTS` into ``out/NAME``, draw samples from it, and export those that other programs open."""
    for name in PARTS:
        if (out / name).exists():
            raise InputError(f"{out / name} exists already; choose another folder by --out, or remove it")
    for name, part in PARTS.items():
        began = time.monotonic()
        print(f"training {part.experiment}")
        run_dir = out / name
        config = compose([f"experiment={part.experiment}", "trainer.devices=1", *part.shorter])
        config.run_dir = str(run_dir)
        result = train(config)
        if not result.finished:
            again = " ".join([f"experiment={part.experiment}", *part.shorter, f"run_dir={run_dir}", "resume=true"])
            print(f"stopped as asked; go on with: multidiff train {again}")
            return
        labels = load(run_dir).model.conditioner.vocabulary
        samples = run_dir / "samples"
        sample.run(str(run_dir), samples, n=part.each * len(labels), label=labels, size=part.size)
        if part.format:
            export.run(samples, run_dir / part.format, part.format, settings={})
        print(f"{name}: {time.monotonic() - began:.0f} s; {samples / 'preview.png'} shows the samples")
