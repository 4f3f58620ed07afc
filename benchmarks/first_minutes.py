"""Seconds that a newcomer waits: for samples of the bundled models, the first page of the studio, and its answers.

Whole commands, with the start of Python, as the least and the most of --rounds, on a machine that does nothing else.
The studio counts as open when its page is answered in full; an answer is one sample, asked for by the API.

    python benchmarks/first_minutes.py --rounds 3 --json first_minutes.json
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from gradio_client import Client

COMMAND = [sys.executable, "-m", "multidiff.cli.main"]
SAMPLED = {
    "emoji": ["--prompt", "a purple dog", "-n", "8"],
    "drums": ["--prompt", "a low kick", "-n", "4"],
    "furniture": ["--prompt", "a tall lamp", "-n", "4"],
}
ASKED = {"emoji": "a purple dog", "drums": "a low kick", "furniture": "a tall lamp"}
PORT = 7917


def sampled(model: str, folder: Path) -> float:
    """Seconds of `multidiff sample`."""
    began = time.perf_counter()
    subprocess.run(
        [*COMMAND, "sample", model, *SAMPLED[model], "--out", "out"], cwd=folder, check=True, capture_output=True
    )
    return time.perf_counter() - began


@contextmanager
def opened(folder: Path) -> Iterator[tuple[str, float]]:
    """The address of a studio with all bundled models, and the seconds until it answered."""
    began = time.perf_counter()
    url = f"http://127.0.0.1:{PORT}/"
    command = [*COMMAND, "studio", "--port", str(PORT), "--history", "history"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not _answers(url):
            if process.poll() is not None:
                raise SystemExit(f"the studio ended with {process.returncode}")
            time.sleep(0.05)
        yield url, time.perf_counter() - began
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the seconds to this file")
    options = parser.parse_args()
    seconds: dict[str, list[float]] = defaultdict(list)
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as name:
            for model in SAMPLED:
                folder = Path(name) / model
                folder.mkdir()
                seconds[f"sample {model}"].append(sampled(model, folder))
            with opened(Path(name)) as (url, waited):
                seconds["first page of the studio"].append(waited)
                client = Client(url, verbose=False, download_files=False)
                for model, prompt in ASKED.items():
                    began = time.perf_counter()
                    client.predict(model=model, fields={"caption": prompt}, api_name="/generate")
                    seconds[f"studio, a sample of {model}"].append(time.perf_counter() - began)
    for what, each in seconds.items():
        print(f"{what:32} {min(each):5.1f} to {max(each):.1f} s")
    if options.json:
        options.json.write_text(json.dumps(seconds, indent=2) + "\n")


if __name__ == "__main__":
    main()
