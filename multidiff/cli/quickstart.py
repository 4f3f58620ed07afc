"""multidiff quickstart: a trained model and samples of every modality."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from multidiff.cli import export, sample


@dataclass(frozen=True)
class Part:
    """One training of the quickstart.

    Attributes:
        experiment: to train.
        shorter: overrides that make it take minutes on two cores.
        each: samples of each class.
        fields: further settings of the samples.
        format: in which the samples are also exported, into a folder of that name; None for no export.
    """

    experiment: str
    shorter: tuple[str, ...] = ()
    each: int = 10
    fields: dict[str, int] | None = None
    format: str | None = None


PARTS = {
    "digits": Part("image/digits"),
    "drums": Part("audio/drums", ("trainer.max_steps=250", "data.count=2000")),
    "furniture": Part(
        "shape/furniture",
        ("trainer.max_steps=1400", "data.points=256"),
        each=2,
        fields={"points": 1024},
        format="glb",
    ),
}
"""The trainings, by name. A quarter of the points takes a quarter of the time, and a model generates any number."""


def quickstart(
    out: Annotated[Path, typer.Option(help="Folder for the models and the samples.")] = Path("quickstart"),
) -> None:
    """Train and sample a small model of each modality.

    It takes minutes on a laptop and downloads nothing.
    """
    from multidiff.configuration import compose
    from multidiff.errors import InputError
    from multidiff.sampling.model_directory import load
    from multidiff.training.train import train

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
            print(f"stopped; continue with: multidiff train {again}")
            return
        labels = [name for part in load(run_dir).model.conditioner for name in part.choices]
        samples = run_dir / "samples"
        settings = {"label": labels, **({"fields": part.fields} if part.fields else {})}
        sample.run(str(run_dir), samples, part.each * len(labels), settings)
        if part.format:
            export.run(samples, run_dir / part.format, part.format, {})
        print(f"{name}: {time.monotonic() - began:.0f} s; {samples / 'preview.png'} shows the samples")
