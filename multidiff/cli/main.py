"""The command `multidiff`: its commands, and one line for every mistake."""

import os
import re
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import NoReturn

import typer

from multidiff.cli.doctor import doctor
from multidiff.cli.ema import ema
from multidiff.cli.evaluate import evaluate
from multidiff.cli.export import export
from multidiff.cli.grid import grid
from multidiff.cli.inspect import inspect
from multidiff.cli.pack import pack
from multidiff.cli.quickstart import quickstart
from multidiff.cli.reproduce import reproduce
from multidiff.cli.sample import sample
from multidiff.cli.samplers import samplers
from multidiff.cli.speedup import speedup
from multidiff.cli.studio import studio
from multidiff.cli.train import train

INTERRUPTED = 130
"""Exit status after Ctrl-C, as in shells."""

app = typer.Typer(
    name="multidiff",
    help="Train and sample diffusion models of images, audio and 3D.",
    epilog="Start with: multidiff quickstart",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # which would take longer to import than all help texts take
)
app.command()(quickstart)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(train)
COMMANDS = (sample, evaluate, export, pack, reproduce, grid, speedup, ema, samplers, studio, inspect, doctor)
for command in COMMANDS:
    app.command()(command)


def main() -> NoReturn:
    """Run the command line. Exit status: 0 done, 2 wrong usage or bad input, 130 interrupted."""
    if isinstance(sys.stdout, TextIOWrapper):  # which need not know every character of a caption
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = app(list(map(_at_home, sys.argv[1:])) or ["--help"], standalone_mode=False)
    except typer.TyperException as error:
        _refuse(f"{error.format_message().rstrip('.')}; see multidiff --help")
    except MemoryError as error:
        _refuse(f"not enough memory: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        status = INTERRUPTED
    except Exception as error:
        line = _one_line(error)
        if line is None:
            raise
        _refuse(line)
    if status == INTERRUPTED:  # which newer versions of typer return rather than raise
        print("multidiff: interrupted", file=sys.stderr)
    sys.exit(status or 0)


def _at_home(word: str) -> str:
    """``word`` with the home for a ``~`` that starts a path: shells leave it after a quote, and after ``--out=``."""
    return re.sub(r"^((?:--[\w-]+=)?)~(?=/|$)", lambda found: found[1] + os.path.expanduser("~"), word)  # noqa: PTH111


def _refuse(line: str) -> NoReturn:
    print(f"multidiff: {line}", file=sys.stderr)
    sys.exit(2)


def _one_line(error: Exception) -> str | None:
    """The line that explains a mistake of the user; None for an error of our own."""
    from multidiff.errors import InputError

    if "Too many open files" in str(error):
        return "too many open files: raise the limit, for example with ulimit -n 4096"
    if isinstance(error, ImportError | OSError) and "failed to map segment" in str(error):
        return f"not enough memory to load torch ({error}): free some, or raise the limit, ulimit -v"
    if isinstance(error, InputError):
        return " ".join(str(error).split())
    if isinstance(error, RuntimeError) and "memory" in str(error):  # torch's, of the CPU and of GPUs
        return f"not enough memory: {_less_memory(sys.argv[1] if len(sys.argv) > 1 else '')}"
    line = _config_error(error)
    if line is None and isinstance(error, OSError):
        return f"{error.filename or 'a file'}: {error.strerror or error}"
    return line


def _less_memory(name: str) -> str:
    """What to do where the command ``name`` needs more memory than there is."""
    batched = {command.__name__ for command in COMMANDS if "batch_size" in command.__annotations__}
    option = "loader.batch_size" if name == train.__name__ else "--batch-size" if name in batched else None
    return f"lower {option} or the size of the samples" if option else "close other programs, or use a larger machine"


def _config_error(error: Exception) -> str | None:
    """The line that explains an error of Hydra or OmegaConf."""
    from hydra.errors import HydraException, MissingConfigException
    from omegaconf.errors import InterpolationToMissingValueError, MissingMandatoryValue, OmegaConfBaseException

    missing = error.full_key if isinstance(error, MissingMandatoryValue) else None
    if isinstance(error, InterpolationToMissingValueError):
        missing = str(error).partition("Missing mandatory value: ")[2].split()[0]
    if missing:
        return f"{missing} must be given: {missing}=VALUE"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _no_such_option(error.missing_cfg_file, error.options or ())
    if isinstance(error, HydraException | OmegaConfBaseException):
        return " ".join(str(error).split())
    if isinstance(error, ValueError) and str(error).startswith("Config group override must be"):
        return "a config group takes the name of an option, not a value; for no condition, give conditioning=none"
    return None


def _no_such_option(missing: str, listed: Sequence[str]) -> str:
    from multidiff.configuration import group_options
    from multidiff.sampling.sampler_config import RENAMED

    group, _, name = missing.partition("/")
    if group == "sampler" and name in RENAMED:
        return f"the sampler {name} is now called {RENAMED[name]}: sampler={RENAMED[name]}"
    options: Sequence[str] = group_options(group)
    if not options:  # a group of Hydra's own
        (group, _, name), options = missing.rpartition("/"), listed
    return f"no {group} is called {name!r}; there are: {', '.join(options)}"


if __name__ == "__main__":
    main()
