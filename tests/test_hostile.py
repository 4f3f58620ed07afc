"""Hostile models, samplers, records, runs and data are refused, and lead to no code, network, process or file."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    command = [sys.executable, "-m", "tests.sandbox", str(tmp_path_factory.mktemp("sandbox"))]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_each_trap_springs_when_it_should(result):
    assert result["controls"]
    assert [name for name, sprang in result["controls"].items() if not sprang] == []


def test_no_trap_springs_on_hostile_files(result):
    assert result["sprung"] == []


def test_every_hostile_file_is_refused(result):
    assert len(result["attempts"]) > 250
    assert {name: became for name, became in result["attempts"].items() if became != "refused"} == {}
