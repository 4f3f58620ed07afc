"""multidiff train: a Hydra application."""

import os
import re
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from omegaconf import DictConfig

MULTIRUN = ("--multirun", "-m")
"""Options that Hydra does not take between overrides, and that are therefore moved before them."""

CONFIG_NAMES = ("--config-name", "-cn")
"""Options with which Hydra starts from a config of the user's own."""

DRY = "--dry-run"

PLAIN = (
    *("run_dir", "data.root", "data.cache", "teacher", "init", "codec.path", "decoder_of", "pretrained", "prior.root"),
    *("caption", "prior.caption"),
)
"""Paths and texts, which are taken as they are written; in a sweep, Hydra's grammar splits them at commas."""


def train(context: typer.Context) -> None:
    """Train a model. Settings are given as KEY=VALUE; --cfg job prints all of them.

    multidiff train experiment=image/digits run_dir=RUN trainer.max_steps=1000

    multidiff train experiment=image/folder data.root=PICTURES data.size=64 run_dir=RUN

    multidiff train experiment=image/lora pretrained=MODEL data.root=PICTURES run_dir=RUN

    multidiff train run_dir=RUN resume=true          continue from the newest checkpoint, with the settings of the run

    multidiff train ... --dry-run                    report the data, the memory and the time, without training

    multidiff train ... --multirun seed=0,1          one run for each combination

    --hydra-help lists the options of Hydra, and --config-dir DIR adds a folder of configs.
    """
    run(context.args)


def run(arguments: Sequence[str]) -> None:
    """Compose the config from the command line, train, and print the outcome."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from multidiff.configuration.composition import application
    from multidiff.training.resume import continued

    command, dry = sys.argv, DRY in arguments
    arguments = [argument for argument in arguments if argument != DRY]
    sweep = any(argument in MULTIRUN for argument in arguments)
    given = arguments if sweep else [_quoted(argument) for argument in arguments]
    settings = continued(given)
    if settings is not None:
        _train(settings, [command[0], "train", *arguments], dry, given)
        return
    _check_data(arguments)
    sys.argv = ["multidiff train", *sorted(given, key=lambda argument: argument not in MULTIRUN)]
    failures: list[Exception] = []

    def job(config: "DictConfig") -> None:
        try:
            _compose_and_train(config, command[0], dry)
        except Exception as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise  # the launcher may run this in another process, and reports which run failed
            failures.append(error)  # Hydra would print its own lines around it
        finally:
            sys.argv = command

    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors through to the command line, which prints one line of each
    application(job)()
    if failures:
        raise failures[0]


def _compose_and_train(config: "DictConfig", program: str, dry: bool) -> None:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from multidiff.errors import InputError

    overrides = list(HydraConfig.get().overrides.task)
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        config.run_dir = HydraConfig.get().runtime.output_dir
    elif _started_together() and not any(text.startswith("run_dir=") for text in overrides):
        raise InputError("processes of torchrun or SLURM must share one run_dir: give run_dir=DIR")
    _train(config, _repeated(config, program), dry, overrides)


def _train(config: "DictConfig | dict[str, Any]", repeated: list[str], dry: bool, overrides: Sequence[str]) -> None:
    """Train, or only rehearse.

    Args:
        config: of the training.
        repeated: the command with which Lightning starts further processes of this run.
        dry: only rehearse.
        overrides: of the command line.
    """
    from multidiff.errors import InputError
    from multidiff.training.rehearsal import rehearsed
    from multidiff.training.train import train as train_run
    from multidiff.training.trainer import is_first_process

    given = {text.lstrip("+").partition("=")[0] for text in overrides}
    if {"budget", "trainer.max_steps"} <= given and config.get("budget") is not None:
        raise InputError("budget and trainer.max_steps both set the length of training: give one of them")
    if dry:
        for line in rehearsed(config):
            print(line, flush=True)
        return
    sys.argv, command = repeated, sys.argv
    try:
        result = train_run(config)
    finally:
        sys.argv = command
    if not is_first_process():
        return
    where = result.run_dir
    print(f"{result.steps} steps, {result.samples:,} training samples; model in {where / 'model'}")
    if not result.finished:
        print(f"stopped; continue with: multidiff train {shlex.quote(f'run_dir={where}')} resume=true")
    elif config.get("autoencoder"):
        print(f"next: {_latent_training(config, where, overrides)}")
    elif config.get("tuning"):
        print(f"next: multidiff sample {shlex.quote(str(where))} --prompt '...' -n 4 --out samples")
    else:
        print(f"next: multidiff sample {shlex.quote(str(where))} -n 16 --out samples")


def _latent_training(config: "DictConfig | dict[str, Any]", codec: "Path", overrides: Sequence[str]) -> str:
    """The command that trains a diffusion model on the latents of a codec, with the same data."""
    from omegaconf import OmegaConf

    path, name = shlex.quote(f"codec.path={codec}"), config.get("latent_experiment")
    if name is None:
        return f"codec=learned {path}, with an experiment for this kind of data"
    pairs = (text.partition("=") for text in overrides if "=" in text)
    chosen = {key: value for key, _, value in pairs if re.match(r"data($|[.])|modality[.]", key)}
    settings = OmegaConf.create(config)
    data = {key: OmegaConf.select(settings, key) if key in PLAIN else value for key, value in chosen.items()}
    words = [shlex.quote(f"{key}={value}") for key, value in data.items()]
    command = " ".join(["multidiff train", f"experiment={name}", *words, path, "run_dir=RUN"])
    known = any(text.startswith("experiment=") for text in overrides)
    return command if known else f"{command}, with data and modality set as for the codec"


def _check_data(arguments: Sequence[str]) -> None:
    """Refuse a command without an experiment, and a folder of data without what it holds: digits are the default."""
    from multidiff.errors import InputError

    given = dict(argument.lstrip("+").partition("=")[::2] for argument in arguments)
    options = [argument for argument in arguments if argument.startswith(("-", "~")) and argument not in MULTIRUN]
    chosen = [name for name in given if name.partition(".")[0] in ("experiment", "data", "modality")]
    if not options and not chosen:
        raise InputError(
            "nothing says what to train: add experiment=image/folder, audio/folder or shape/mesh_folder with "
            "data.root=FOLDER, or another experiment"
        )
    if "data.root" not in given or {"data", *CONFIG_NAMES} & given.keys():
        return
    if given.get("experiment") == "finetune":
        raise InputError(
            "data.root needs the kind of its data: add data=image_folder, audio_folder, mesh_folder or mesh_distances"
        )
    if "experiment" not in given:
        raise InputError(
            "data.root needs the kind of its data: add experiment=image/folder, audio/folder or shape/mesh_folder; "
            "experiment=finetune trains a model further"
        )


def _quoted(argument: str) -> str:
    """``argument`` in quotes for Hydra if it is of `PLAIN`; its characters then have no meaning, except ``${...}``."""
    key, equals, value = argument.partition("=")
    if key.lstrip("+") not in PLAIN or not value or value[0] in "'\"":
        return argument
    return f"{key}{equals}{_in_quotes(value)}"


def _in_quotes(value: str) -> str:
    """``value`` as a quoted string of Hydra's grammar, in which backslashes are special only before a quote."""
    escaped = re.sub(r"(\\*)('|$)", lambda match: 2 * match[1] + ("\\'" if match[2] else ""), value)
    return f"'{escaped}'"


def _started_together() -> bool:
    return int(os.environ.get("WORLD_SIZE", os.environ.get("SLURM_NTASKS", "1"))) > 1


def _repeated(config: "DictConfig", program: str) -> list[str]:
    """The command with which Lightning starts further processes of this run, also within a sweep."""
    from hydra.core.hydra_config import HydraConfig

    hydra_config = HydraConfig.get()
    sources = [source.path for source in hydra_config.runtime.config_sources if source.provider == "command-line"]
    options = [f"--config-dir={path}" for path in sources]
    return [program, "train", *options, *hydra_config.overrides.task, f"run_dir={_in_quotes(str(config.run_dir))}"]
