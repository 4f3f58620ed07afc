"""A hundred requests at once, good, bad and cancelled, to the installed command, which is then killed."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from multidiff.studio.history import History

COUNT = 99
GROWTH = 100 * 2**20
"""Bytes by which the memory of a server may grow over a hundred requests: caches, and what allocators keep."""

WRONG = (
    ({"n": 99}, "samples from 1 to 64, got 99"),
    ({"model": "x"}, "no model is called"),
    ({"fields": {"label": "eleven"}}, "eleven"),
    ({"steps": 0}, "steps from 1 to"),
)


@pytest.fixture
def server(run_dir, tmp_path):
    command = [sys.executable, "-m", "multidiff.cli.main", "studio", str(run_dir), "--port", "7873"]
    options = ["--history", str(tmp_path / "history"), "--max-steps", "100000"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        assert "the studio is at" in line
        yield process, line.split()[4].rstrip(";")
        process.kill()


def ask(url, **request):
    """The answer to a request, or the text of its error."""
    event = httpx.post(f"{url}gradio_api/call/v2/generate", json=request, timeout=300).json()["event_id"]
    stream = httpx.get(f"{url}gradio_api/call/generate/{event}", timeout=300).text
    kind, data = (line.partition(": ")[2] for line in stream.strip().splitlines()[-2:])
    return json.loads(data)[0] if kind == "complete" else data


def memory(process):
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
def test_no_answer_is_lost_or_crossed_and_a_kill_loses_no_result(server, tmp_path):
    process, url = server

    def number(i):
        wrong, _ = WRONG[i // 3 % len(WRONG)]
        request = {"model": "digits", "fields": {"label": str(i % 10)}, "seed": i, "steps": 1}
        return ask(url, **request | (wrong if i % 3 == 0 else {}))

    with ThreadPoolExecutor(COUNT) as pool:
        list(pool.map(number, range(1, 31)))
        before = memory(process)
        cancelled = Client(url, verbose=False, download_files=False, httpx_kwargs={"timeout": 300})
        long = cancelled.submit(model="digits", n=64, steps=100_000, api_name="/generate")
        answers = pool.map(number, range(COUNT))
        while not cancelled.predict(api_name="/stop"):
            time.sleep(0.5)  # until it has arrived
        with pytest.raises(AppError, match="stopped"):
            long.result(timeout=100)
        answers = list(answers)
    for i, answer in enumerate(answers):
        if i % 3:
            assert answer["plan"]["seeds"] == {"kind": "seeded", "seed": i}
            assert answer["plan"]["samples"] == [{"label": str(i % 10)}]
        else:
            assert WRONG[i // 3 % len(WRONG)][1] in answer
    assert memory(process) - before < GROWTH

    cancelled.submit(model="digits", n=64, steps=100_000, api_name="/generate")
    process.send_signal(signal.SIGKILL)
    process.wait()
    history = History(tmp_path / "history")
    for answer in answers:
        if isinstance(answer, dict):
            assert all(path.is_file() for path in history[answer["id"]].files)
    assert not [path for path in history.results.iterdir() if path.name not in {r.id for r in history.search(most=999)}]
