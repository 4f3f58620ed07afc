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
from multidiff.training.train import is_first_process, train

MULTIRUN = ("--multirun", "-m")
"""What Hydra does not take among the overrides, and so is moved before them."""


def run(arguments: Sequence[str]) -> None:
    """Compose the config from the command line, train, and say what came of it."""
    command = sys.argv
    sys.argv = ["multidiff train", *sorted(arguments, key=lambda argument: argument not in MULTIRUN)]
    failures: list[Exception] = []

    def job(config: DictConfig) -> None:
        try:
            _train(config, command[0])
        except (InputError, OmegaConfBaseException, OSError, MemoryError) as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise  # the launcher may run this in another process, and the sweep says which run it was
            failures.append(error)  # Hydra would print its own lines around it
        finally:
            sys.argv = command

    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors through to the command line, which prints one line of each
    hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="train")(job)()
    if failures:
        raise failures[0]


def _train(config: DictConfig, program: str) -> None:
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        config.run_dir = HydraConfig.get().runtime.output_dir
    elif _started_together() and not any(text.startswith("run_dir=") for text in HydraConfig.get().overrides.task):
        raise InputError(
            "processes that torchrun or SLURM starts would each name a run_dir of their own: give run_dir=DIR"
        )
    sys.argv = _repeated(config, program)
    result = train(config)
    if not is_first_process():
        return
    where = Path(config.run_dir)
    print(f"{result.steps} steps, {result.samples:,} samples seen; model in {where / 'model'}")
    if result.finished:
        print(f"next: multidiff sample {where} -n 16 --out samples")
    else:
        print("stopped as asked; the same command with resume=true goes on")


def _started_together() -> bool:
    return int(os.environ.get("WORLD_SIZE", os.environ.get("SLURM_NTASKS", "1"))) > 1


def _repeated(config: DictConfig, program: str) -> list[str]:
    """The command by which Lightning starts further processes of this one run, be it of a sweep."""
    hydra_config = HydraConfig.get()
    sources = [source.path for source in hydra_config.runtime.config_sources if source.provider == "command-line"]
    options = [f"--config-dir={path}" for path in sources]
    where = str(config.run_dir).replace("\\", "\\\\").replace("'", "\\'")
    return [program, "train", *options, *hydra_config.overrides.task, f"run_dir='{where}'"]
