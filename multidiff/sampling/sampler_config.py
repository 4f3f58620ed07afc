"""Sampler configs: a name, a method, a grid and a number of steps, which travel with a model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from multidiff.configuration import group_options, load_option, option_file, read_yaml
from multidiff.errors import InputError
from multidiff.sampling.conditions import plain
from multidiff.sampling.speed import with_speed

SAMPLER_PARTS = {"name", "steps", "method", "grid"}
MAX_STEPS = 100_000

RENAMED = {
    "dpm2": "midpoint",
    "dpm_2": "dpm_solver_2s",
    "dpm_3": "dpm_solver_3s",
    "dpm_2m": "dpm_solver_2m",
    "dpm_3m": "dpm_solver_3m",
}
"""Samplers of multidiff 0.1 by their names now."""


def chosen_sampler(own: Mapping[str, Any], name: str | None, steps: int | None) -> Mapping[str, Any]:
    """The sampler ``name``, which brings its own steps, or ``own``; with ``steps`` where they are given.

    Raises:
        InputError: there is no such sampler, or the number of steps cannot be used.
    """
    kept = name is None or (name == own["name"] and name not in group_options("sampler"))
    config = own if kept else load_sampler(str(name))
    config = config if steps is None else {**config, "steps": plain(steps)}
    count = config["steps"]
    if type(count) is not int or not 1 <= count <= MAX_STEPS:
        raise InputError(f"sampler {config['name']}: steps must be an integer from 1 to {MAX_STEPS}, got {count!r}")
    return config


def load_sampler(name: str) -> dict[str, Any]:
    """The sampler called ``name`` in the config group, or described by the YAML file ``name``.

    Raises:
        InputError: there is none, or the file describes something else.
    """
    if name in RENAMED:
        raise InputError(f"the sampler {name} is now called {RENAMED[name]}")
    if not name.endswith(".yaml"):
        return checked_sampler(load_option("sampler", name), str(option_file("sampler", name)))
    return checked_sampler(read_yaml(Path(name).expanduser()), name)


def checked_sampler(config: Any, where: str) -> dict[str, Any]:
    """``config``, if it has the parts of a sampler; ``where`` names it in messages.

    Raises:
        InputError: it has others.
    """
    if not isinstance(config, dict) or set(config) - {"speed"} != SAMPLER_PARTS:
        raise InputError(f"{where} does not describe a sampler by {', '.join(sorted(SAMPLER_PARTS))} (and speed)")
    if not isinstance(config["name"], str):
        raise InputError(f"{where}: the name of a sampler must be a text, got {config['name']!r}")
    with_speed(config, None, None, torch.device("cpu"))  # refuses other settings
    return config
