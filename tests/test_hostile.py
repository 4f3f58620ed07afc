"""Hostile models, samplers, records, runs and data are refused, and lead to no code, network, process or file."""

import os

import pytest

from tests.sandbox import attempted
from tests.training.processes import CONTEXT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """One process for all cases; of a server, since a process whose tests have trained may not be forked to train."""
    receiving, sending = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=answer, args=(sending, tmp_path_factory.mktemp("sandbox").resolve()))
    process.start()
    sending.close()
    yield receiving.recv()
    process.join()


def answer(connection, folder):
    connection.send(attempted(folder))
    os._exit(0)  # the traps would spring when it cleans up


def test_each_trap_springs_when_it_should(result):
    assert result["controls"]
    assert [name for name, sprang in result["controls"].items() if not sprang] == []


def test_no_trap_springs_on_hostile_files(result):
    assert result["sprung"] == []


def test_every_hostile_file_is_refused(result):
    assert len(result["attempts"]) > 250
    assert {name: became for name, became in result["attempts"].items() if became != "refused"} == {}
