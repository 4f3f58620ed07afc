"""Continue a run by its directory alone: ``multidiff train run_dir=RUN resume=true``."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from multidiff.configuration import group_options
from multidiff.errors import InputError
from multidiff.training.run_directory import CONFIG, read_settings
from multidiff.training.train import Result, train

RESUMING = ("resume=true", "resume=auto")


def resume_run(run_dir: Path) -> Result:
    """Train on from the newest checkpoint in ``run_dir``, with the settings of the run.

    Raises:
        InputError: there is no checkpoint, the data are gone, or another process trains there.
    """
    return train({**read_settings(run_dir), "run_dir": str(run_dir), "resume": True})


def continued(arguments: Sequence[str], plain: Sequence[str]) -> dict[str, Any] | None:
    """The settings of the run that a command resumes by its directory, with the changes that it makes.

    Args:
        arguments: of ``multidiff train``.
        plain: settings whose values are texts, taken as they are written.

    Returns:
        None for commands that compose a config: those that choose an option of a group, such as ``experiment=...``, or
        set what the run has not.

    Raises:
        InputError: the config of the run is damaged, or a value is not YAML.
    """
    changes = dict(argument.partition("=")[::2] for argument in arguments)
    run_dir = Path(changes.get("run_dir", "")).expanduser()
    if not any(word in arguments for word in RESUMING) or "run_dir" not in changes or not (run_dir / CONFIG).is_file():
        return None
    settings = OmegaConf.create(read_settings(run_dir))
    for key, value in changes.items():
        if not _is_setting(settings, key):
            return None
        given = {key: value} if key in plain else _parsed(key, value)
        OmegaConf.update(settings, key, given[key], merge=False)
    if changes.get("trainer.max_steps") and "budget" not in changes:
        settings.budget = None
    return OmegaConf.to_container(settings)  # type: ignore[return-value]  # of a mapping, one


def _is_setting(settings: Any, key: str) -> bool:
    """Whether ``settings`` have a value at this dotted key that is not chosen from the options of a group."""
    parent, _, name = key.rpartition(".")
    if not parent and group_options(name):
        return False
    holder = OmegaConf.select(settings, parent) if parent else settings
    return OmegaConf.is_dict(holder) and name in holder and not OmegaConf.is_dict(holder[name])


def _parsed(key: str, value: str) -> dict[str, Any]:
    try:
        return {key: OmegaConf.select(OmegaConf.from_dotlist([f"{key}={value}"]), key)}
    except (OmegaConfBaseException, YAMLError) as error:
        raise InputError(f"{key}={value} is not a value: {str(error).splitlines()[0]}") from error


if __name__ == "__main__":
    try:
        resume_run(Path(sys.argv[1]))
    except InputError as error:
        sys.exit(f"multidiff: {error}")
