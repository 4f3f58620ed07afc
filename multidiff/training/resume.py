"""Continue a run by its directory alone: ``python -m multidiff.training.resume RUN_DIR``."""

import platform
import re
import sys
from contextlib import suppress
from pathlib import Path

from multidiff.errors import InputError
from multidiff.training.run_directory import LOCK, is_held, read_settings
from multidiff.training.train import Result, train


def resume_run(run_dir: Path) -> Result:
    """Train on from the newest checkpoint in ``run_dir``, with the settings of the run.

    Raises:
        InputError: there is no checkpoint, the data are gone, or another process trains there.
    """
    return train({**read_settings(run_dir), "run_dir": str(run_dir), "resume": True})


def process_of(run_dir: Path) -> int | None:
    """The process that trains in ``run_dir`` now; None if none does.

    Raises:
        InputError: it is a process of another machine.
    """
    if not is_held(run_dir):
        return None
    holder = ""
    with suppress(OSError):
        holder = (run_dir / LOCK).read_text("utf-8")
    found = re.fullmatch(r"process (\d+) on (.*)", holder)
    if not found or found[2] != platform.node():
        raise InputError(f"{run_dir.name} is trained by {holder or 'a process that is not known'}: stop it there")
    return int(found[1])


if __name__ == "__main__":
    try:
        resume_run(Path(sys.argv[1]))
    except InputError as error:
        sys.exit(f"multidiff: {error}")
