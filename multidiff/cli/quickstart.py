"""multidiff quickstart: from nothing to samples of every modality."""

import time
from pathlib import Path

from multidiff.cli import sample
from multidiff.configuration import compose
from multidiff.errors import InputError
from multidiff.model_directory import load
from multidiff.training.train import train

EXPERIMENTS = {
    "digits": ("image/digits",),
    "drums": ("audio/drums", "trainer.max_steps=600", "loader.batch_size=8", "data.count=2000"),
}
"""What is trained: a name, its experiment, and what makes that one shorter, so that it takes minutes on two cores."""


def run(out: Path) -> None:
    """Train each of `EXPERIMENTS` into ``out/NAME`` and draw samples from it."""
    for name in EXPERIMENTS:
        if (out / name).exists():
            raise InputError(f"{out / name} exists already; choose another folder by --out, or remove it")
    for name, (experiment, *shorter) in EXPERIMENTS.items():
        began = time.monotonic()
        print(f"training {experiment}")
        run_dir = out / name
        config = compose([f"experiment={experiment}", "trainer.devices=1", *shorter])
        config.run_dir = str(run_dir)
        result = train(config)
        if not result.finished:
            again = " ".join([f"experiment={experiment}", *shorter, f"run_dir={run_dir}", "resume=true"])
            print(f"stopped as asked; go on with: multidiff train {again}")
            return
        labels = load(run_dir).model.conditioner.vocabulary
        sample.run(str(run_dir), run_dir / "samples", n=10 * len(labels), label=labels)
        print(f"{name}: {time.monotonic() - began:.0f} s; {run_dir / 'samples' / 'preview.png'} shows the samples")
