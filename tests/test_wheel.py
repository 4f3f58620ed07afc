"""The wheel alone, in an environment of its own and far from the checkout, trains and samples."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.tiny import TINY

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_wheel_works_from_any_directory(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("multidiff_toolkit-*.whl")
    models = {path.relative_to(ROOT).as_posix() for path in (ROOT / "multidiff/bundled").glob("[!_]*/**/*.*")}
    assert models <= set(ZipFile(wheel).namelist())
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel], check=True)
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    # The dependencies are this environment's: nothing is downloaded, and a path alone shows no editable install.
    (Path(site) / "dependencies.pth").write_text(f"import sys; sys.path.append({sysconfig.get_path('purelib')!r})\n")

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*command):
        return subprocess.run(
            [str(part) for part in command], cwd=elsewhere, env=environment, check=True, capture_output=True, text=True
        ).stdout

    where = run(python, "-c", "import multidiff, modalities; print(multidiff.__file__, modalities.__file__)")
    assert all(path.startswith(str(tmp_path / "venv")) for path in where.split())
    command = tmp_path / "venv" / "bin" / "multidiff"
    run(command, "train", *TINY, "run_dir=run", "trainer.max_steps=2")
    run(command, "sample", "run", "-n", "2", "--label", "3", "--steps", "2", "--out", "out")
    assert {path.name for path in (elsewhere / "out").iterdir()} == {
        "00000.png",
        "00001.png",
        "preview.png",
        "samples.json",
    }
