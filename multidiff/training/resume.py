"""Continue a run by its directory alone: ``multidiff train run_dir=RUN resume=true``."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from multidiff.configuration import group_options
from multidiff.errors import InputError
from multidiff.training.run_directory import CONFIG, read_settings
from multidiff.training.train import Result, train

CONFIG_DIRS = ("--config-dir", "-cd")
"""Options of Hydra that add a folder of configs."""


def resume_run(run_dir: Path) -> Result:
    """Train on from the newest checkpoint in ``run_dir``, with the settings of the run.

    Raises:
        InputError: there is no checkpoint, the data are gone, or another process trains there.
    """
    return train({**settings_of(run_dir), "resume": True})


def settings_of(run_dir: Path) -> dict[str, Any]:
    """The settings of the run that lies at ``run_dir`` now; its loggers write there.

    Raises:
        InputError: the config of the run is missing or damaged.
    """
    settings = read_settings(run_dir)
    before = Path(settings["run_dir"])
    for logger in (settings.get("logger") or {}).values():
        if logger and Path(logger.get("save_dir", "")).is_relative_to(before):
            logger["save_dir"] = str(run_dir / Path(logger["save_dir"]).relative_to(before))
    return {**settings, "run_dir": str(run_dir)}


def continued(overrides: Sequence[str]) -> dict[str, Any] | None:
    """The settings of the run that a command resumes by its directory, with the changes that it makes.

    Args:
        overrides: of ``multidiff train``, in Hydra's grammar.

    Returns:
        None for commands that compose a config: those that choose an option of a group, such as ``experiment=...``,
        change what the run has not, or are not understood.

    Raises:
        InputError: the config of the run is damaged, there is no run and nothing that a new one could train on, or an
            option of a group is chosen without the experiment, whose place the defaults would take.
    """
    from multidiff.configuration.composition import changed, parsed  # noqa: PLC0415  the Studio resumes without Hydra

    changes = parsed(list(_without_folders(overrides))) or []
    given = {change.key_or_group: change.value() for change in changes}
    run_dir = Path(str(given.get("run_dir", ""))).expanduser()
    if given.get("resume") not in (True, "auto") or "run_dir" not in given:
        return None
    if not (run_dir / CONFIG).is_file():
        if not given.keys() & {"experiment", "data"}:
            raise InputError(f"there is no run to resume at {run_dir}: to start one, add experiment=...")
        return None
    options = [name for name in given if group_options(name)]
    if options and not {*options} & {"experiment", "data", "modality"}:
        raise InputError(
            f"a resume keeps the settings of the run, in which no other {options[0]} can be chosen: give single "
            f"settings, {options[0]}.KEY=VALUE, or repeat the whole command with its experiment"
        )
    settings = settings_of(run_dir)
    if not all(changed(settings, change) for change in changes):
        return None
    if given.get("trainer.max_steps") is not None and "budget" not in given:
        settings["budget"] = None
    if given.get("budget") is not None and "trainer.max_steps" not in given:
        settings["trainer"]["max_steps"] = None
    return settings


def _without_folders(arguments: Sequence[str]) -> Iterator[str]:
    """``arguments`` without folders of configs: the config of a run needs none."""
    rest = iter(arguments)
    for argument in rest:
        if argument in CONFIG_DIRS:
            next(rest, None)
        elif not argument.startswith(tuple(f"{option}=" for option in CONFIG_DIRS)):
            yield argument


if __name__ == "__main__":
    try:
        resume_run(Path(sys.argv[1]))
    except InputError as error:
        sys.exit(f"multidiff: {error}")
