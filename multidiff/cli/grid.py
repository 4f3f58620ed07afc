"""multidiff grid: the config of a sampler whose levels are fitted to a model."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from multidiff.data.files import atomic_path
from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.optimized_grid import optimized_grid
from multidiff.errors import InputError, refusals
from multidiff.sampling import model_directory
from multidiff.sampling.plan import seeds_of
from multidiff.sampling.request import Changes


def run(
    model: str,
    steps: int,
    *,
    out: Path | None = None,
    label: Sequence[str] | None = None,
    prompt: str | None = None,
    n: int = 16,
    seed: int = 0,
    guidance: float | None = None,
    guidance_rule: str | None = None,
    negative: str | None = None,
) -> None:
    """Print the model's own sampler on a grid of ``steps`` steps that is fitted to it, or write it to ``out``."""
    if out is not None and out.suffix != ".yaml":
        raise InputError(f"--out {out} should end in .yaml: its name is that of the sampler")
    pipeline = model_directory.load(model)
    conditions = pipeline.conditions(n, label=label or None, prompt=prompt)
    changes: Changes = {"guidance": guidance, "guidance_rule": guidance_rule, "negative": negative}
    sampling = pipeline.sampling.requested(conditions, **changes).effective(conditions)
    parameter = next(pipeline.model.parameters())
    noise = NoiseSource(seeds_of(seed, 0, n), pipeline.shape, parameter.dtype, parameter.device)
    with torch.no_grad(), refusals():
        denoiser, _, _ = pipeline.prepared(sampling)
        levels = optimized_grid(denoiser, noise, steps, pipeline.model.condition(conditions)).log_snr
    sampler = sampling.sampler
    config = {
        "name": f"{sampler['name']}_{steps}" if out is None else out.stem,
        "steps": steps,
        "method": sampler["method"],
        "grid": {"_target_": "multidiff.diffusion.grids.Interpolated", "log_snr": list(levels)},
    }
    asked = {"label": label, "prompt": prompt, "seed": seed, **changes, "guidance": sampling.guidance}
    command = _command("multidiff", "grid", model, "-n", n, steps=steps, **asked)
    text = (
        f"# Made by: {command}\n"
        "# Draw with it by --sampler THIS.yaml; train with it as DIR/sampler/NAME.yaml and --config-dir DIR.\n"
        + yaml.safe_dump(config, sort_keys=False, default_flow_style=None)
    )
    if out is None:
        print(text, end="")
        return
    with atomic_path(out) as path:
        path.write_text(text)
    print(f"{steps} levels in {out}")


def _command(*words: Any, **options: Any) -> str:
    """The command line on one line; an option is left out at None, and is given as often as a list has entries."""
    for name, value in options.items():
        for entry in value if isinstance(value, list) else [value]:
            words += () if entry is None else (f"--{name.replace('_', '-')}", entry)
    return " ".join(shlex.join(map(str, words)).split())
