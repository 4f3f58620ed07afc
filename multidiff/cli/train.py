"""multidiff train: a Hydra application."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from multidiff.configuration import config_dir
from multidiff.errors import InputError
from multidiff.training.train import train


def run(arguments: Sequence[str]) -> None:
    """Compose the config from the command line, train, and say what came of it."""
    command = sys.argv
    sys.argv = ["multidiff train", *arguments]
    failures: list[Exception] = []

    def job(config: DictConfig) -> None:
        sys.argv = command  # Lightning starts further processes by repeating it
        try:
            _train(config)
        except (InputError, OmegaConfBaseException, OSError) as error:
            failures.append(error)  # Hydra would print its own lines around it

    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors through to the command line, which prints one line of each
    hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="train")(job)()
    if failures:
        raise failures[0]


def _train(config: DictConfig) -> None:
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        config.run_dir = HydraConfig.get().runtime.output_dir
    result = train(config)
    where = Path(config.run_dir)
    print(f"{result.steps} steps, {result.samples:,} samples seen; model in {where / 'model'}")
    if result.finished:
        print(f"next: multidiff sample {where} -n 16 --out samples")
    else:
        print("stopped as asked; the same command with resume=true goes on")
