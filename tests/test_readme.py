"""The README's commands run as they stand, in an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(bash|python)\n(.*?)```", README, re.DOTALL)


def is_setup(block):
    return "pip install" in block


@pytest.mark.slow
def test_the_commands_run_in_order(tmp_path):
    """Set-up aside, which made the environment that this runs in; the quickstart comes first, as for a newcomer."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "MULTIDIFF_CACHE": str(tmp_path / "cache"),
    }
    assert any("multidiff quickstart" in block for _, block in BLOCKS if is_setup(block))
    blocks = [("bash", "multidiff quickstart"), *((kind, block) for kind, block in BLOCKS if not is_setup(block))]
    for kind, block in blocks:
        command = ["bash", "-euc", block] if kind == "bash" else [sys.executable, "-c", block]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{block}\n{done.stderr}"


def test_the_two_commands_of_a_newcomer_are_there():
    assert "pip install -e . && multidiff quickstart" in README
    assert "pip install -e '.[test]' && pytest" in README


def test_its_pictures_are_there():
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", README)
    assert pictures
    assert all((ROOT / picture).is_file() for picture in pictures)
