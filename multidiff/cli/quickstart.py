"""multidiff quickstart: samples of the bundled models, then a training, and what to do next."""

import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from multidiff.bundled import bundled
from multidiff.cli import export, sample


@dataclass(frozen=True)
class Part:
    """One training of the quickstart.

    Attributes:
        experiment: to train.
        shorter: overrides that make it take minutes on two cores.
        shown: overrides beside, where training is only to be shown.
        each: samples of each class.
        fields: further settings of the samples.
        format: in which the samples are also exported, into a folder of that name; None for no export.
    """

    experiment: str
    shorter: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()
    each: int = 10
    fields: dict[str, int] | None = None
    format: str | None = None


PARTS = {
    "digits": Part("image/digits", shown=("budget=1m",)),
    "drums": Part("audio/drums", ("trainer.max_steps=250", "warmup_steps=100", "data.count=2000")),
    "furniture": Part(
        "shape/furniture",
        ("trainer.max_steps=1400", "data.points=256"),
        each=2,
        fields={"points": 1024},
        format="glb",
    ),
}
"""The trainings, by name. A quarter of the points takes a quarter of the time, and a model generates any number."""

PROMPTS = {
    "emoji": ("a purple dog", "a red star", "a green frog", "an orange cat", "a pink elephant", "a yellow car"),
    "drums": ("a low kick", "a dark snare", "a short closed hat", "a long bright open hat", "a clap", "a high cowbell"),
    "furniture": ("a high chair with 3 slats", "a tall lamp", "a wide mug", "a low table with four legs"),
}
"""What the bundled models are asked for."""

FIELDS = {"furniture": {"resolution": 64}}
"""Further settings of the samples of bundled models: a coarser grid, so that meshes are there within 20 seconds."""

MESHES = {"furniture": "glb"}
"""Formats in which samples of bundled models are also exported."""

NEXT = """
Next:
  multidiff studio {names}                 a web page to play with the models
  multidiff inspect FOLDER                 what your own data contain, and problems in them
  multidiff train experiment=image/folder data.root=FOLDER run_dir=runs/mine budget=30m
  multidiff sample runs/mine -n 16 --out samples
Sounds: experiment=audio/folder; meshes: experiment=shape/mesh_folder. {more}multidiff --help lists all commands."""


def quickstart(
    out: Annotated[Path, typer.Option(help="Folder for the models and the samples.")] = Path("quickstart"),
    full: Annotated[
        bool, typer.Option("--full", help="Train a small model of every modality in full, even where one is bundled.")
    ] = False,
) -> None:
    """Sample the bundled models, then train and sample a small model.

    It takes minutes on a laptop and downloads nothing.
    """
    from multidiff.errors import InputError

    ready = bundled()
    full = full or not ready
    trained = {name: part for name, part in PARTS.items() if full or name not in ready}
    for folder in (*(out / "bundled" / name for name in ready), *(out / name for name in trained)):
        if folder.exists():
            raise InputError(f"{folder} exists already; choose another folder with --out, or remove it")
    for name, directory in ready.items():
        _show(name, directory, out / "bundled" / name)
    for name, part in trained.items():
        if not _train(part.experiment, (*part.shorter, *(() if full else part.shown)), out / name):
            return
        _sample(name, part, out / name)
    more = "" if full or len(trained) == len(PARTS) else "multidiff quickstart --full trains one of each modality; "
    print(NEXT.format(names=out / next(iter(trained)), more=more))


def _show(name: str, directory: Path, out: Path) -> None:
    """Samples of a bundled model."""
    from multidiff.sampling.model_directory import load

    began = time.monotonic()
    conditioner = load(directory).model.conditioner
    option = "prompt" if "caption" in conditioner.reads else "label"
    asked = PROMPTS[name] if option == "prompt" else [label for part in conditioner for label in part.choices]
    settings = {option: list(asked), **({"fields": FIELDS[name]} if name in FIELDS else {})}
    sample.run(str(directory), out, len(asked), settings)
    if name in MESHES:
        export.run(out, out / MESHES[name], MESHES[name], {})
    print(f"{name}: {', '.join(asked)}; {time.monotonic() - began:.0f} s")


def _train(experiment: str, overrides: tuple[str, ...], run_dir: Path) -> bool:
    """Train a small model; whether the training was completed."""
    from multidiff.configuration import compose
    from multidiff.training.train import train

    began = time.monotonic()
    print(f"training {experiment}")
    config = compose([f"experiment={experiment}", "trainer.devices=1", *overrides])
    config.run_dir = str(run_dir)
    finished = train(config).finished
    if finished:
        print(f"{run_dir} was trained in {time.monotonic() - began:.0f} s")
    else:
        print(f"stopped; continue with: multidiff train {shlex.quote(f'run_dir={run_dir}')} resume=true")
    return finished


def _sample(name: str, part: Part, run_dir: Path) -> None:
    """Samples of a model that was trained."""
    from multidiff.sampling.model_directory import load

    labels = [name for part in load(run_dir).model.conditioner for name in part.choices]
    samples = run_dir / "samples"
    settings = {"label": labels, **({"fields": part.fields} if part.fields else {})}
    sample.run(str(run_dir), samples, part.each * len(labels), settings)
    if part.format:
        export.run(samples, run_dir / part.format, part.format, {})
    print(f"{name}: {samples / 'preview.png'} shows the samples")
