"""Damaged files of every format, read in processes with limits on memory and time.

    PYTHONPATH=. python benchmarks/fuzz.py --minutes 10 --seed 0 --json fuzz.json
    PYTHONPATH=. python benchmarks/fuzz.py --reproduce rgb.png findings/rgb.png-0123456789

A file is read, or refused by an `InputError`; anything else is a finding, and its file is kept. The formats and the
damage are those of the tests: tests/formats.py and tests/mutations.py.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import platform
import resource
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import version
from itertools import count
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from multidiff.errors import InputError
from tests.formats import KINDS, Format

READ, REFUSED = "read", "refused"
BLOCK = 50
"""Variants of a format in a row."""

GB = 2**30


class Reader:
    """A process that reads files; another one takes its place when it dies or exceeds the time.

    Args:
        folder: for its own copy of the good files.
        memory: GB that it may take beyond what it has at its start.
        seconds: that a file may take.
    """

    def __init__(self, folder: Path, memory: float, seconds: float):
        self.formats, self.memory, self.seconds = formats_in(folder), memory, seconds
        self.case: tuple[str, bytes] | None = None
        self._start()

    def give(self, case: tuple[str, bytes]) -> None:
        """Start to read a format's variant."""
        self.case, self.deadline = case, time.monotonic() + self.seconds
        self.pipe.send(case)

    def outcome(self) -> str | None:
        """What became of the variant; None while it is being read."""
        try:
            if self.pipe.poll():
                return str(self.pipe.recv())
            if time.monotonic() < self.deadline:
                return None
            found = f"more than {self.seconds:g} s"
        except (EOFError, ConnectionError):
            found = "the process died"
        self.stop()
        self._start()
        return found

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        self.process.kill()
        self.process.join()

    def _start(self) -> None:
        self.pipe, other = multiprocessing.Pipe()
        arguments = (other, self.formats, self.memory)
        self.process = multiprocessing.get_context("fork").Process(target=serve, args=arguments, daemon=True)
        self.process.start()
        other.close()


def formats_in(folder: Path) -> dict[str, Format]:
    """Every format by its name, with good files in ``folder``."""
    found = {}
    for kind in KINDS:
        place = folder / kind.__name__
        place.mkdir(parents=True)
        for known in kind(place):
            known.read(known.path)
            found[known.name] = known
    return found


def serve(pipe: Connection, formats: Mapping[str, Format], memory: float) -> None:
    """Read the variants that come through ``pipe`` and answer what became of each, until it is closed."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    torch.set_num_threads(1)  # the threads of the parent are not here
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = used + round(memory * GB)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with suppress(EOFError):
        while True:
            name, content = pipe.recv()
            pipe.send(outcome_of(formats[name], content))


def outcome_of(known: Format, content: bytes) -> str:
    """`READ`, `REFUSED`, or the unexpected exception with its place in this package."""
    known.path.write_bytes(content)
    try:
        known.read(known.path)
    except InputError:
        return REFUSED
    except Exception as error:  # noqa: BLE001  it is what is searched for
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if "site-packages" not in frame.filename and "<" not in frame.filename]
        return f"{type(error).__name__} at {Path(own[-1].filename).name}:{own[-1].lineno}"
    finally:
        known.path.write_bytes(known.content)
    return READ


def cases(formats: Mapping[str, Format], seed: int) -> Iterator[tuple[str, bytes]]:
    """Variants of all formats in turns, without end."""
    for number in count(seed * 1_000_000):
        for name, known in formats.items():
            for content in variants(known.variants, number):
                yield name, content


def variants(strategy: st.SearchStrategy[bytes], seed: int) -> list[bytes]:
    """`BLOCK` values of ``strategy``."""
    found: list[bytes] = []

    @settings(
        max_examples=BLOCK, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=HealthCheck
    )
    @seeded(seed)
    @given(strategy)
    def collect(content: bytes) -> None:
        found.append(content)

    collect()
    return found


def fuzz(readers: list[Reader], seed: int, minutes: float, findings: Path) -> dict[str, Counter[str]]:
    """The number of variants by format and outcome."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    waiting, end = cases(readers[0].formats, seed), time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        for reader in readers:
            if reader.case is not None:
                outcome = reader.outcome()
                if outcome is None:
                    continue
                name, content = reader.case
                found[name][outcome] += 1
                if outcome not in (READ, REFUSED) and found[name][outcome] == 1:
                    keep(findings, name, content, outcome)
            reader.give(next(waiting))
        wait([reader.pipe for reader in readers], timeout=0.1)
    return found


def keep(findings: Path, name: str, content: bytes, outcome: str) -> None:
    """Write the variant into a file, and say how to read it again."""
    findings.mkdir(parents=True, exist_ok=True)
    path = findings / f"{name}-{hashlib.sha256(content).hexdigest()[:10]}"
    path.write_bytes(content)
    print(f"{name}: {outcome}; --reproduce {name} {path}", flush=True)


def table(found: Mapping[str, Counter[str]]) -> None:
    """Print the counts."""
    print(f"{'format':24}{'read':>8}{'refused':>9}{'other':>7}")
    for name, counts in found.items():
        other = counts.total() - counts[READ] - counts[REFUSED]
        print(f"{name:24}{counts[READ]:8}{counts[REFUSED]:9}{other:7}")
    print(f"{sum(counts.total() for counts in found.values())} files")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--memory", type=float, default=2, help="GB for a file, beyond what the process takes")
    parser.add_argument("--seconds", type=float, default=20, help="for a file")
    parser.add_argument("--findings", type=Path, default=Path("findings"))
    parser.add_argument("--reproduce", nargs=2, metavar=("FORMAT", "FILE"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if options.reproduce:
            name, path = options.reproduce
            known = formats_in(Path(scratch))[name]
            known.path.write_bytes(Path(path).read_bytes())
            known.read(known.path)
            return
        folders = [Path(scratch) / str(number) for number in range(options.processes)]
        readers = [Reader(folder, options.memory, options.seconds) for folder in folders]
        found = fuzz(readers, options.seed, options.minutes, options.findings)
        for reader in readers:
            reader.stop()
    table(found)
    if options.json:
        options.json.write_text(json.dumps(report(options, found), indent=2))


def report(options: argparse.Namespace, found: Mapping[str, Counter[str]]) -> dict[str, Any]:
    """The counts with the machine, the versions and the limits."""
    packages = ("torch", "pillow", "soundfile", "trimesh", "numpy", "hypothesis")
    limits = {name: getattr(options, name) for name in ("minutes", "seed", "processes", "memory", "seconds")}
    machine = {"machine": platform.processor() or platform.machine(), "python": platform.python_version()}
    return {**machine, "versions": {name: version(name) for name in packages}, **limits, "outcomes": found}


if __name__ == "__main__":
    main()
