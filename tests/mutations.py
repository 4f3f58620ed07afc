"""Damaged copies of small good files, for property tests: a reader accepts them or raises `InputError`, at low cost."""

import copy
import re
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from multidiff.errors import InputError

Edit = Callable[[bytes], bytes]

HEADER = 512
"""Bytes at the start of a file in which numbers are replaced."""

SIZES = (0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1)
"""Numbers that a header may claim: none, and the largest and smallest ones of the integer types."""

ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 7, 2**31, 2**70, 1e308, float("nan"), float("inf")),
    *("", "text", "../../x", "/etc/passwd", "${oc.env:HOME}", "\0", [], {}, [[]]),
    *({"_target_": "os.system"}, {"_target_": "modalities.image.data.Digits"}, {"a": {"b": [1]}}),
)
"""Values that take the place of a part of a document."""

SECONDS = 3.0
MEMORY = 2**30
"""What reading a damaged file may take: CPU time, and bytes beyond those in use."""


def repeatable(examples: int) -> settings:
    """The same ``examples`` in every run: hypothesis keeps no database, and `limited` watches the time."""
    checks = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
    return settings(max_examples=examples, derandomize=True, database=None, deadline=None, suppress_health_check=checks)


def mutated(data: bytes) -> st.SearchStrategy[bytes]:
    """``data`` after one to three edits: flipped bits, cuts, inserted bytes and replaced header numbers."""
    edit = st.one_of(cuts(), flips(), insertions(), header_numbers(), header_texts())
    return st.lists(edit, min_size=1, max_size=3).map(lambda edits: reduce(lambda kept, edit: edit(kept), edits, data))


def flips() -> st.SearchStrategy[Edit]:
    """One bit is inverted, in the header as often as anywhere."""

    def flip(data: bytes, at: float, bit: int) -> bytes:
        i = _index(data, at)
        return data[:i] + bytes([byte ^ 1 << bit for byte in data[i : i + 1]]) + data[i + 1 :]

    return st.builds(lambda at, bit: lambda data: flip(data, at, bit), _places(), st.integers(0, 7))


def cuts() -> st.SearchStrategy[Edit]:
    """The end of the file is missing, or up to 16 bytes inside it."""
    ends = st.builds(lambda at: lambda data: data[: _index(data, at)], _places())
    gaps = st.builds(
        lambda at, n: lambda data: data[: _index(data, at)] + data[_index(data, at) + n :],
        _places(),
        st.integers(1, 16),
    )
    return ends | gaps


def insertions() -> st.SearchStrategy[Edit]:
    """Up to 16 bytes are inserted."""
    return st.builds(
        lambda at, extra: lambda data: data[: _index(data, at)] + extra + data[_index(data, at) :],
        _places(),
        st.binary(min_size=1, max_size=16),
    )


def header_numbers() -> st.SearchStrategy[Edit]:
    """A binary integer of the header, of 2, 4 or 8 bytes and either byte order, becomes one of `SIZES`."""

    def replace(data: bytes, at: float, value: int, width: int, order: str) -> bytes:
        i = _index(data[:HEADER], at)
        number = (value % 2 ** (8 * width)).to_bytes(width, order)  # type: ignore[arg-type]
        return data[:i] + number + data[i + width :]

    return st.builds(
        lambda *choice: lambda data: replace(data, *choice),
        st.floats(0, 1),
        st.sampled_from(SIZES),
        st.sampled_from([2, 4, 8]),
        st.sampled_from(["little", "big"]),
    )


def header_texts() -> st.SearchStrategy[Edit]:
    """A number that the header writes in digits becomes one of `SIZES`, or negative, or not a number."""

    def replace(data: bytes, at: float, value: str) -> bytes:
        found = list(re.finditer(rb"\d+", data[: 4 * HEADER]))
        if not found:
            return data
        number = found[min(int(at * len(found)), len(found) - 1)]
        return data[: number.start()] + value.encode() + data[number.end() :]

    values = [*map(str, SIZES), "-1", "nan", "1e400", "9" * 400]
    return st.builds(lambda *choice: lambda data: replace(data, *choice), st.floats(0, 1), st.sampled_from(values))


def check_reader(read: Callable[[bytes], object], content: bytes) -> None:
    """``read`` accepts the content or raises an `InputError` of one line, which does not stand for a lack of memory."""
    refusal: BaseException | None = None
    with limited():
        try:
            read(content)
        except InputError as error:
            refusal = error
    assert "\n" not in str(refusal)
    while refusal is not None:
        assert not isinstance(refusal, MemoryError)
        refusal = refusal.__cause__ or refusal.__context__


def mutated_document(value: Any) -> st.SearchStrategy[Any]:
    """``value`` after one or two edits: a part becomes odd, a copy of another part, or is missing or renamed."""

    def edited(random: Random) -> Any:
        document = [copy.deepcopy(value)]
        for _ in range(random.randint(1, 2)):
            parts = list(_parts(document))
            (parent, key), (other, name) = random.choice(parts), random.choice(parts)
            change = random.randrange(5)
            if change == 0 and parent is not document:
                del parent[key]
            elif change == 1 and isinstance(parent, dict):
                parent[random.choice(("extra", "_target_", "_partial_", "_args_"))] = parent.pop(key)
            else:
                parent[key] = copy.deepcopy(other[name] if change == 2 else random.choice(ODD))
        return document[0]

    return st.randoms(use_true_random=False).map(edited)


def _parts(value: Any) -> Iterator[tuple[Any, Any]]:
    """The container and the key of every part of ``value``."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in list(items):
        yield value, key
        yield from _parts(part)


@contextmanager
def limited() -> Iterator[None]:
    """Fails where the body takes more than `SECONDS` of CPU time; allocating more than `MEMORY` is a `MemoryError`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if (used := Path("/proc/self/statm")).exists():
        pages = int(used.read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
    start = time.process_time()
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert time.process_time() - start < SECONDS


def _places() -> st.SearchStrategy[float]:
    """Positions as fractions of the file; half of them are in its first 5 %."""
    return st.floats(0, 0.05) | st.floats(0, 1)


def _index(data: bytes, at: float) -> int:
    return min(int(at * len(data)), max(len(data) - 1, 0))
