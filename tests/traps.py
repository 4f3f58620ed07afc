"""Traps in this process: an audit hook that stops what opening a file should never lead to."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PROCESSES = ("subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system")
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class SprungError(BaseException):
    """A trap sprang; no ``except Exception`` hides it."""


class Traps:
    """An audit hook that notes and stops network, processes, libraries, new imports, pickles and foreign files.

    Args:
        scratch: where files may be written.
        private: where nothing may be read.
    """

    def __init__(self, scratch: Path, private: Path):
        self.scratch, self.private = str(scratch), str(private)
        self.known = {name.partition(".")[0] for name in sys.modules}
        self.sprung: list[str] = []
        self.busy = False
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Called by Python before each audited event."""
        if self.busy:
            return
        self.busy = True
        try:
            caught = self.forbidden(event, arguments)
        finally:
            self.busy = False
        if caught:
            self.sprung.append(f"{event} {arguments!r}"[:300])
            raise SprungError(event)

    def forbidden(self, event: str, arguments: tuple[Any, ...]) -> bool:
        """Whether an event is a trap."""
        if event == "open":
            path, _, flags = arguments
            return self.below(path, self.private) or (bool(flags & WRITES) and self.outside(path))
        if event == "import":
            package = arguments[0].partition(".")[0]
            return package not in self.known and find_spec(package) is not None
        if event == "ctypes.dlopen":
            return arguments[0] != "libnvidia-ml.so.1"  # torch asks whether there is a GPU
        if event in CHANGES or event.startswith("shutil."):
            return any(self.outside(argument) for argument in arguments)
        return event in (*PROCESSES, "pickle.find_class") or event.startswith("socket.")

    def outside(self, path: Any) -> bool:
        """Whether it is a path that is not below the scratch folder."""
        return isinstance(path, str | bytes | Path) and path != os.devnull and not self.below(path, self.scratch)

    def below(self, path: Any, folder: str) -> bool:
        """Whether it is a path below ``folder``."""
        if not isinstance(path, str | bytes | Path):
            return False
        return f"{os.path.abspath(os.fsdecode(path))}{os.sep}".startswith(f"{folder}{os.sep}")  # noqa: PTH100  no event
