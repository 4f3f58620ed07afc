"""Continue a run by its directory alone: ``python -m multidiff.training.resume RUN_DIR``."""

import sys
from pathlib import Path

from multidiff.errors import InputError
from multidiff.training.run_directory import read_settings
from multidiff.training.train import Result, train


def resume_run(run_dir: Path) -> Result:
    """Train on from the newest checkpoint in ``run_dir``, with the settings of the run.

    Raises:
        InputError: there is no checkpoint, the data are gone, or another process trains there.
    """
    return train({**read_settings(run_dir), "run_dir": str(run_dir), "resume": True})


if __name__ == "__main__":
    try:
        resume_run(Path(sys.argv[1]))
    except InputError as error:
        sys.exit(f"multidiff: {error}")
