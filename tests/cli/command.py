"""The command line in this process."""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

import pytest

from multidiff.cli.main import main

PICTURES = (
    "experiment=image/folder",
    "backbone.widths=[8,40]",
    "backbone.head_size=8",
    "data.size=8",
    "loader.batch_size=2",
    "loader.workers=0",
    "trainer.accelerator=cpu",
)


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


def multidiff(*arguments, cwd, **environment):
    """Run the command in this process, which spares it seconds of imports."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(cwd)
        for name, value in {"MULTIDIFF_CACHE": str(cwd / "cache"), **environment}.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["multidiff", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    return Done(ended.value.code, out.getvalue(), err.getvalue())


def refused(*arguments, cwd, saying):
    """One line on standard error that holds ``saying``, status 2, and no new file."""
    before = set(cwd.rglob("*"))
    done = multidiff(*arguments, cwd=cwd)
    assert done.returncode == 2, done.stderr
    assert saying in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert {path for path in cwd.rglob("*") if "cache" not in path.parts} <= before
