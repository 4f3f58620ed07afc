"""The process that trains a run: whether there is one, and how it is stopped and started again."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from multidiff.errors import InputError
from multidiff.training.run_directory import is_held, process_of

LOG = "resumed.log"
"""File below ``logs`` of a run with what a resumed training prints."""


class Trainer:
    """Stops and resumes the training in a run directory.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._started: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether a process trains, or was just started to train."""
        return is_held(self.folder) or (self._started is not None and self._started.poll() is None)

    @property
    def state(self) -> str:
        """What the process does, in a few words; the reason if it failed."""
        if self.is_running:
            return "training"
        if self._started is not None and self._started.returncode > 0:
            return f"not resumed: {self._last_line()}"
        return "not training"

    def stop(self) -> None:
        """Let the training end after the present step, with a checkpoint.

        Raises:
            InputError: nothing trains, or a process of another machine or user does.
        """
        process = process_of(self.folder)
        if process is None:
            raise InputError("this run is not training now")
        try:
            os.kill(process, signal.SIGTERM)
        except OSError as error:
            raise InputError(f"the training cannot be stopped from here: {error.strerror}") from error

    def resume(self) -> None:
        """Start a process that trains on from the newest checkpoint; it outlives the studio.

        Raises:
            InputError: it trains already.
        """
        if self.is_running:
            raise InputError("this run is training already")
        log = self.folder / "logs" / LOG
        log.parent.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "multidiff.training.resume", str(self.folder)]
        with log.open("wb") as output:
            self._started = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    def _last_line(self) -> str:
        with suppress(OSError, IndexError):
            lines = (self.folder / "logs" / LOG).read_text("utf-8", errors="replace").splitlines()
            return [line for line in lines if line.strip()][-1].removeprefix("multidiff: ")
        return "the process ended"
